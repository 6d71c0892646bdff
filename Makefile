# Two commands do everything on a fresh Debian machine, as root: `make demo` and `make test`.
# They install what they need from Debian's packages and from cargo, and say what they are doing.

CARGO ?= cargo
export CARGO
# Built with the whole workspace: alone, the harness would be built with other features, and all it stands on twice.
LAB := $(CARGO) build --locked --workspace && $${CARGO_TARGET_DIR:-target}/debug/vipcast-lab
# The version of Kubernetes for the suite `api`, if not the one of tests/apiserver/go.mod.
KUBERNETES = $(if $(K8S),--kubernetes $(K8S))

.PHONY: help demo test test-pure test-api test-kernel test-lab bench bench-failover check tools

help: ## Show the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: tools ## Watch two LB nodes and a ToR switch do the main job (a few minutes).
	@$(LAB) demo

test: tools ## Run all test suites.
	@$(LAB) test $(KUBERNETES)

test-pure: tools ## Run the tests that need neither root nor IPVS.
	@$(LAB) test pure

test-api: tools ## Run the tests against a real kube-apiserver and etcd; K8S=v1.33.13 takes another version.
	@$(LAB) test api $(KUBERNETES)

test-kernel: tools ## Run the tests on a real kernel.
	@$(LAB) test kernel

test-lab: tools ## Run the tests that send packets through a ToR switch.
	@$(LAB) test lab

bench: tools ## Measure: cold start and one change, against the netlink floor and ipvsadm.
	@$(LAB) bench

# Optimised, as what is installed. Interrupted, it goes on where it was.
bench-failover: tools ## Measure failover and what is planned, and print the table (hours; Ctrl-C prints what there is).
	@$(CARGO) build --locked --workspace --release && $${CARGO_TARGET_DIR:-target}/release/vipcast-lab bench failover

check: tools ## Format, lints, documentation.
	@$(CARGO) fmt --version >/dev/null && $(CARGO) clippy --version >/dev/null || \
		{ echo "rustfmt or clippy is missing: rustup component add rustfmt clippy" >&2; exit 1; }
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps --document-private-items

tools:
	@sh labs/tools.sh
