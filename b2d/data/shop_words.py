"""The generated shop's words: English names of products and attributes, with synonyms; brands.

Tables alone, read by `b2d.data.synthetic`. A comma stands between the ways to say one thing, of which
titles mostly use the first; `|` between different things. The brands are invented.
"""

# Kinds of attribute, with their values.
ATTRIBUTES = {
  'colour': """black, ebony, jet black | white, ivory, off white | gray, grey, charcoal | red,
        crimson, scarlet | blue, navy, cobalt | green, emerald, olive | brown, chocolate, espresso |
        beige, tan, sand | pink, blush, rose | purple, violet, lavender | yellow, mustard, lemon |
        teal, turquoise, aqua""",
  'finish': """brushed nickel, satin nickel | polished chrome, shiny chrome, chrome | matte black,
        flat black | oil-rubbed bronze, dark bronze, bronze | antique brass, gold, brass |
        white enamel, painted white""",
  'furnishing': """leather, cowhide | velvet, plush fabric | solid wood, wooden, timber | metal,
        steel, iron | wicker, rattan, cane | linen, cloth | tempered glass, glass | plastic,
        polypropylene, resin""",
  'cookware': """stainless steel, inox | cast iron, iron | ceramic, stoneware, porcelain |
        copper | bamboo, wooden | nonstick aluminum, non-stick, coated | silicone, rubber | plastic,
        bpa free""",
  'fabric': """cotton | merino wool, woolen, wool | denim, jean fabric | fleece, polar fleece |
        leather, suede | polyester, synthetic | silk, satin | linen, flax""",
  'power': """20V lithium-ion, cordless, battery powered, battery | 120V 15-amp, corded, plug in |
        4-cycle gas, gasoline, petrol | pneumatic, air powered, compressed air | manual,
        hand operated, no power""",
  'inches': """1/4 in., quarter inch, 0.25 inch | 1/2 in., half inch, 0.5 inch | 3/4 in.,
        0.75 inch, three quarter inch | 1 in., one inch | 2 in., two inch | 6 in., half foot,
        six inch | 12 in., one foot, twelve inch""",
  'feet': """3 ft., 36 inch, one yard | 6 ft., 72 inch, six foot | 10 ft., 120 inch, ten foot |
        25 ft., 25 foot | 50 ft., 50 foot, fifty foot | 100 ft., 100 foot, hundred foot""",
  'volume': """16 oz., one pint, 1 pint | 32 oz., one quart, 1 quart | 64 oz., half gallon,
        2 quart | 1 gal., 128 ounce, 4 quart, one gallon | 5 gal., 20 quart, five gallon""",
  'count': """2-pack, pair, set of two | 4-pack, set of four, four piece | 6-pack, half dozen,
        set of six | 12-pack, dozen, twelve piece | 100-pack, bulk, hundred count""",
  'size': """compact, small, mini | medium, mid size, regular | large, big, oversized |
        extra-large, xl, giant""",
  'bed': 'twin, single | full, double | queen, 60 inch | king, 76 inch | crib, cot',
  'audience': """men's, gents, male | women's, ladies, female | boys', boy, for sons | girls',
        girl, for daughters | baby, infant, newborn""",
  'feature': """waterproof, rainproof, water resistant | foldable, folding, collapsible |
        portable, travel, on the go | heavy-duty, industrial, rugged | lightweight, ultralight,
        featherweight""",
  'link': """wireless, bluetooth, cable free | wired, with cord, tethered | solar, sun powered |
        rechargeable, usb charging""",
  'light': """LED, energy saving | halogen | warm white, soft white, 2700k | daylight, cool white,
        5000k""",
  'storage': """64GB, 64 gigabyte | 256GB, 256 gigabyte | 512GB, half terabyte | 1TB, 1000gb,
        1 terabyte""",
  'style': """modern, contemporary | rustic, farmhouse, country | vintage, retro, antique style |
        traditional, classic, old fashioned | minimalist, simple, plain""",
}

# Product types of each department. `;` ends a family of near products, none of which serves a
# customer who asks for another; before its colon, the kinds of attribute that the family has.
PRODUCT_TYPES = {
  'tools': """
        power inches: drill, power drill, hole borer | impact driver, power screwdriver |
            rotary hammer, hammer drill;
        power feature: circular saw, buzz saw | jigsaw, scroll saw | chainsaw, tree saw | miter saw,
            chop saw;
        power size: sander, sanding machine | angle grinder, disc cutter | heat gun,
            hot air blower | air compressor;
        inches count: drill bit set, boring bits | saw blade, cutting disc | sandpaper,
            abrasive sheets, emery paper;
        size count: wrench, spanner | pliers, pincers | hammer, mallet | utility knife, box cutter |
            screwdriver, turnscrew;
        feet feature: ladder, steps | tape measure, measuring tape, ruler | extension cord,
            power cable | tool box, tool chest;
        inches count: nails, brads | screws, threaded fasteners | anchors, wall plugs | washers,
            flat rings""",
  'bath': """
        finish style: faucet, tap, spigot | shower head, rain shower, shower sprayer | towel bar,
            towel rail | robe hook;
        size colour: toilet, commode, wc | sink, wash basin | bathtub, tub, soaking bath | vanity,
            bathroom cabinet;
        finish inches: door knob, door handle | cabinet pull, drawer handle | hinge, pivot |
            deadbolt, door lock;
        volume colour: paint, wall coating | wood stain, timber dye | primer, undercoat | caulk,
            sealant;
        size colour: rug, carpet | bath mat, shower mat | curtains, drapes | blinds, window shades;
        inches count: pipe, tubing | pipe elbow, angle fitting | shutoff valve, stopcock | gasket,
            rubber seal""",
  'kitchen': """
        cookware size: frying pan, skillet | saucepan, cooking pot | wok, stir fry pan |
            dutch oven, casserole;
        cookware count: cutlery, flatware, silverware | spatula, turner | ladle, soup spoon | tongs,
            grabbers;
        volume colour: coffee maker, coffee machine | kettle, water boiler | blender,
            smoothie maker | juicer, juice extractor;
        size colour: refrigerator, fridge, icebox | stove, cooker, range | dishwasher | microwave,
            microwave oven;
        volume cookware: water bottle, canteen, flask | mug, coffee cup | pitcher, jug, carafe |
            food container, lunch box;
        cookware size: cutting board, chopping block | mixing bowl | colander, strainer, sieve |
            rolling pin;
        size colour: trash can, garbage bin, dustbin | dish rack, plate drainer | apron, pinafore |
            oven mitt, pot holder""",
  'garden': """
        power size: lawn mower, grass cutter | string trimmer, weed eater, strimmer | leaf blower |
            hedge trimmer, shrub cutter;
        feet feature: garden hose, water pipe | sprinkler, lawn irrigator | pressure washer,
            power washer | watering can;
        size colour: planter, flower pot | raised bed, garden box | trellis, climbing frame |
            bird feeder;
        furnishing colour: patio chair, outdoor seat | porch swing, hanging bench | hammock |
            adirondack chair, deck chair;
        size colour: grill, barbecue, bbq | fire pit, outdoor fireplace | smoker, meat smoker |
            patio heater;
        size feature: shovel, spade | rake | wheelbarrow, garden cart | pruning shears, secateurs,
            clippers;
        volume size: fertilizer, plant food | potting soil, compost | weed killer, herbicide |
            bug spray, insecticide""",
  'furniture': """
        furnishing colour: sofa, couch, settee | armchair, easy chair | ottoman, footstool,
            hassock | bench, settle;
        furnishing style: dining table, dinner table | desk, writing table, workstation |
            coffee table, cocktail table;
        furnishing size: bookcase, bookshelf | wardrobe, armoire, closet | dresser,
            chest of drawers | nightstand, bedside table;
        bed furnishing: bed frame, bedstead | headboard, bed board | bunk bed, stacked beds |
            daybed, chaise;
        bed colour: mattress | comforter, duvet, quilt | bed sheets, bedding | pillow, cushion;
        style size: mirror, looking glass | picture frame, photo frame | wall clock, timepiece |
            vase, flower holder;
        light style: chandelier, hanging light | floor lamp, standing lamp | sconce, wall light |
            lamp shade, light cover""",
  'electronics': """
        link colour: headphones, earphones, headset | speaker, sound box | microphone, mic |
            doorbell, door chime;
        storage size: laptop, notebook computer | tablet, slate | cell phone, smartphone,
            mobile phone | desktop pc, computer tower;
        storage colour: flash drive, thumb drive, memory stick | hard drive, hard disk | sd card,
            memory card;
        size link: tv, television | monitor, computer screen | projector, beamer | webcam,
            video camera;
        link feature: keyboard, keypad | mouse, pointing device | game controller, gamepad,
            joystick | charger, power adapter;
        light count: light bulb, lamp bulb | flashlight, torch | string lights, fairy lights |
            night light;
        size colour: vacuum cleaner, hoover | fan, air circulator | space heater, room heater |
            air conditioner, ac unit;
        feature colour: phone case, phone cover | laptop sleeve, computer bag | camera bag |
            cable organizer""",
  'clothing': """
        fabric audience: sweater, jumper, pullover | hoodie, hooded sweatshirt | t-shirt, tee |
            cardigan, knit jacket;
        fabric audience: pants, trousers, slacks | shorts, bermudas | leggings, tights | skirt |
            overalls, dungarees;
        colour audience: sneakers, trainers, running shoes | boots, wellingtons | sandals,
            flip flops | slippers, house shoes;
        fabric colour: scarf, shawl | gloves, mittens | hat, cap, beanie | necktie, tie | socks,
            hosiery | belt, waistband;
        feature audience: raincoat, slicker, mackintosh | parka, winter coat, anorak | vest, gilet,
            waistcoat | windbreaker;
        fabric audience: pajamas, sleepwear, nightwear | bathrobe, dressing gown | underwear,
            briefs | swimsuit, bathing suit;
        colour size: backpack, rucksack, knapsack | purse, handbag | suitcase, luggage,
            travel case | wallet, billfold;
        colour audience: sunglasses, shades | wristwatch, watch | necklace, pendant | bracelet,
            bangle | earrings, ear studs""",
  'leisure': """
        size colour: teddy bear, stuffed animal, plush toy | doll, dolly | puppet, marionette |
            action figure;
        count size: building blocks, construction bricks | jigsaw puzzle, picture puzzle |
            board game | playing cards;
        audience colour: bicycle, bike | scooter, kick board | tricycle, three wheeler |
            roller skates, rollerblades;
        colour size: stroller, pram, buggy | car seat, child seat | high chair, feeding chair |
            playpen, play yard;
        feature size: tent, camping shelter | sleeping bag, bedroll | cooler, ice chest |
            camp stove, backpacking burner;
        size count: dumbbell, hand weight | kettlebell | yoga mat, exercise mat | resistance band,
            elastic strap;
        feature colour: kayak, canoe | surfboard | life jacket, flotation vest | fishing rod,
            fishing pole;
        size colour: soccer ball, football | basketball hoop, basket backboard | tennis racket |
            golf clubs, golf irons;
        size colour: dog bed, puppy cushion | cat litter box, kitty toilet | fish tank, aquarium |
            pet crate, kennel""",
}

BRANDS = {
  'tools': 'Torvik Brakkel Ironmoor Haldric Stronvale Krafton Ridgebolt',
  'bath': 'Aquelle Marbrook Fontaris Lavendry Brookhollow Dravon Tidewyn',
  'kitchen': 'Cucinara Panwright Oventry Saltbury Mirabelo Forkwell Zestora',
  'garden': 'Greenholt Fernmoor Mosswick Lawnora Thistledon Petalux Grovane',
  'furniture': 'Nordhaven Ashcombe Velmora Oakrest Lindqvar Casabrae Hartmoor',
  'electronics': 'Voltessa Nuvionix Zentrix Pixarro Sonavel Quantiva Omnilux',
  'clothing': 'Wooldrey Marlise Threadmoor Bellwyn Trekstone Avensole Norvanna',
  'leisure': 'Playmora Funderby Summitra Kidwell Pawhaven Trailvane Sportvane',
}

# What follows the brand in a title: mostly nothing.
SERIES = ('', '', '', '', '', 'Pro', 'MAX', 'Elite', 'Essential', 'Deluxe', 'Series 5', '2nd Gen')
