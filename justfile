# Every CI job is one recipe. `just` lists them.

default:
    @just --list

# form, lints, rules, unit tests, simulator, documentation: before every commit
check:
    ./scripts/check

# everything, stories with real servers too; installs Debian packages that are missing
test:
    ./scripts/test

# weir before two small backends on loopback, with commands to try
demo:
    ./scripts/demo

# the stories whose names contain NAME
story NAME="":
    cargo build -p weir -p weirctl
    cargo test -p weir-tests --test stories -- {{NAME}}

# one seed of the simulator again, with its trace
seed SEED:
    cargo run -p weir-sim -- --seed {{SEED}} --trace

# does the simulator find every planted bug?
mutants *ARGUMENTS:
    ./scripts/mutants {{ARGUMENTS}}

# a night of the simulator: 100,000 seeds, the model against the real ring, planted bugs
night:
    ./scripts/sim-long

# bans, licences, sources and advisories of the dependencies (cargo-deny 0.16 or newer, network)
deny:
    cargo deny check
