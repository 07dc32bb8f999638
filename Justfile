# The tasks of this workspace. `uv run just` lists them; nothing but uv has to be installed.

set shell := ["bash", "-euo", "pipefail", "-c"]

# Where `uv run` says that uv is: it need not be on the path of whoever calls it
export PATH := env('PATH') + ':' + parent_directory(env('UV', justfile_directory() / '.uv/bin/uv'))

# Most tests wait for brokers and other processes: four at a time keep two cores busy. A file stays in one process, and each process
# has a broker of its own. In the order of `testpaths`: short files are last, so that all processes end together
parallel := "--numprocesses 4 --dist loadfile --no-loadscope-reorder"

# List the recipes
[private]
default:
    @'{{ just_executable() }}' --list --unsorted

# Run the bank example and check its books: on memory:// or, as `just demo kafka`, on a broker started for it
[group('try it')]
demo transport="memory":
    uv run python examples/demo.py {{ transport }}

# Run an app with something to look at: open http://localhost:6066 in a browser
[group('try it')]
[no-exit-message]
shop *args:
    @trap 'exit 130' INT; uv run stream -A examples.shop worker {{ args }} # else just calls Ctrl+C an error

# Start a development Kafka in the foreground; --port 9093 when 9092 is taken
[group('try it')]
[no-exit-message]
broker *args:
    @trap 'exit 130' INT; uv run stream broker {{ args }} # else just calls Ctrl+C an error

# Everything: the static checks, then all tests, those of the packages on every Python (this is what CI runs)
[group('check')]
[no-exit-message]
test *args: check
    uv run pytest {{ if args == "" { parallel } else { args } }}
    {{ if args == "" { "uv run python tests/versions/run.py " + parallel } else { "" } }}
    {{ if args == "" { "uv run python tests/drivers/run.py" } else { "" } }}

# The tests of the packages: no broker, no network, seconds
[group('check')]
[no-exit-message]
test-unit *args:
    uv run pytest packages {{ args }}

# The tests of the packages on every other Python of this machine
[group('check')]
[no-exit-message]
test-versions *args:
    uv run python tests/versions/run.py {{ args }}

# The tests of the store driver python-rocksdb, in an environment that has it
[group('check')]
[no-exit-message]
test-drivers *args:
    uv run python tests/drivers/run.py {{ args }}

# The static checks: format, lint, layers, dependencies, types; and how large things are
[group('check')]
check: lint layers dependencies types sizes

# Ruff: format and lint
[group('check')]
lint:
    uv run ruff format --check
    uv run ruff check

# import-linter: who may import whom (contracts in pyproject.toml)
[group('check')]
layers:
    uv run lint-imports --no-logo

# deptry: each package declares exactly what it imports
[group('check')]
dependencies:
    for package in packages/*; do uv run deptry --config "$package/pyproject.toml" "$package/src"; done

# mypy --strict: the packages, the user code in typing_tests, and the tests outside of the packages
[group('check')]
types:
    uv run mypy
    for tree in typing_tests tests integration-tests; do uv run mypy "$tree"; done

# The largest files, classes and functions: for whoever reads, no law
[group('check')]
sizes:
    @uv run python tests/architecture/sizes.py

# Format and mend what can be mended
[group('check')]
fmt:
    uv run ruff format
    uv run ruff check --fix

# The documentation, as HTML in docs/_build/html; a warning is an error
[group('check')]
[no-exit-message]
docs:
    uv run sphinx-build --fail-on-warning --keep-going --quiet -d docs/_build/doctrees docs docs/_build/html

# Kill, stop and restart workers and brokers, and check that nothing is lost or doubled
[group('measure')]
[working-directory('integration-tests')]
chaos *args:
    uv run python -m chaos {{ args }}

# The benchmarks, against a real broker
[group('measure')]
bench *args:
    uv run python -m benchmarks {{ args }}

# Build all sdists and wheels into dist/
[group('release')]
build: clean
    uv build --all-packages --out-dir dist

# Build the wheels, install them outside the workspace, import each, run `stream --help`
[group('release')]
[no-exit-message]
wheels:
    uv run pytest tests/distributions

# Remove what the recipes made
[group('release')]
clean:
    rm -rf dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
