# The ways into classhub on a development machine. `make help` lists them.
# HOSTS=one brings up the class on one host; the default is the full class: proxy, hub and two nodes.

BIN := .cache/venv/bin
LAB := $(BIN)/python -m lab
PYTEST := $(BIN)/pytest --durations=20
SHELL_SCRIPTS = bootstrap.sh lab/setup.sh .ci/run salt/hub/files/restore-routes

.DEFAULT_GOAL := help
.PHONY: help setup hosts up down status shell apply recreate test test-fast test-tree test-unit test-functional \
	test-integration test-vm test-nfs test-lab test-long lint format lock bench distclean

help:  ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## install what a fresh machine lacks: packages, and Python tools in .cache/venv
	@lab/setup.sh

up: setup  ## bring the class up on this machine and apply the states
	@$(LAB) up

hosts: setup  ## bring up bare hosts with Salt connected, and apply nothing
	@$(LAB) hosts

down: setup  ## remove the lab; what is costly to make again stays in .cache
	@$(LAB) down

status: setup  ## show each host of the lab
	@$(LAB) status

shell: setup  ## open a shell on a host: make shell HOST=hub
	@$(LAB) shell $(or $(HOST),hub)

apply: setup  ## apply the states to the lab, or to one host: make apply HOST=node1
	@$(LAB) apply $(HOST)

recreate: setup  ## make one host anew, bare: make recreate HOST=node1
	@$(LAB) recreate $(HOST)

test: lint test-tree test-unit test-functional test-integration test-lab  ## all tests; the lab is made anew, and gone after
	@echo "make test: not run, for they take long: kernel NFS in virtual machines (make test-vm), whole terms and full classes (make test-long)"

test-fast: lint test-tree test-unit test-functional  ## the tests that need no lab and no daemons

# of a file of tests all are of one process: what it sets up for all of them is costly
test-tree test-unit test-functional test-integration: test-%: setup
	$(PYTEST) -n auto --dist loadfile tests/$*

# in virtual machines, which are emulated
test-nfs: setup  ## the tests of kernel NFS without its faults
	$(PYTEST) tests/vm/test_nfs.py

test-vm: setup  ## the tests of kernel NFS, with its faults, in virtual machines
	$(PYTEST) tests/vm

test-lab: setup  ## the tests of the real class: makes the lab anew, and leaves none
	CLASSHUB_LAB_FRESH=1 $(PYTEST) tests/lab

test-long: setup  ## the tests that take long: whole terms, full classes; the lab is made anew, and stays
	CLASSHUB_LAB_FRESH=1 $(PYTEST) -m long tests

lint: setup  ## check Python, states, YAML and shell scripts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	git ls-files --cached --others --exclude-standard '*.sls' '*.jinja' | xargs -r $(BIN)/salt-lint
	$(BIN)/yamllint .
	$(BIN)/shellcheck $(SHELL_SCRIPTS)

format: setup  ## format the Python code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The locks serve Debian's Pythons, 3.11 and 3.13. Why timelib is left out: requirements/salt.in; rfc3987-syntax and lark:
# they make every start of nbgrader a second slower, and the hub has none either.
UV_COMPILE = .cache/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	--no-emit-index-url --no-emit-package timelib --no-emit-package rfc3987-syntax --no-emit-package lark \
	--custom-compile-command "make lock"

lock:  ## renew the pinned Python packages in requirements/
	/usr/bin/python3 -m venv .cache/lock
	.cache/lock/bin/pip install --quiet uv
	$(UV_COMPILE) requirements/build.in --output-file requirements/build.txt
	$(UV_COMPILE) requirements/salt.in --constraint requirements/build.txt --output-file requirements/salt.txt
	$(UV_COMPILE) requirements/dev.in --constraint requirements/salt.txt --output-file requirements/dev.txt
	$(UV_COMPILE) requirements/s3.in --output-file requirements/s3.txt

bench: up  ## run the benchmarks against the lab
	$(BIN)/python -m bench

distclean: down  ## remove the lab and all that it has cached
	rm -rf .cache
