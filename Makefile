# Two commands are enough: `make run` shows Isospin working, `make test` shows that it works.
# Both install what they need and can be run again.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
# A program of tests that hangs is ended, and the next one runs.
BOUNDED := --config "target.'cfg(all())'.runner=['timeout','--foreground','--verbose','--kill-after=10','900']"
# With a person at the terminal the demo stays up until Ctrl-C.
KEEP := $(shell [ -t 0 ] && [ -t 1 ] && echo --keep)

.PHONY: help run test test-deb test-live test-exchange test-agents test-cluster test-vm test-reachability soak lint fmt bench bench-upstream bench-dataplane bench-dataplane-vm bench-members bench-restart bench-failover deb

help:
	@echo 'make run    build, start the standalone service and see two instances get addresses and reach each other'
	@echo 'make test   build and pass every test'
	@echo 'make test-exchange  Neutron 29 and ours take turns on one database, then serve it together'
	@echo 'make test-agents    agents of Neutron at our server, ours at its server, one for the other under load'
	@echo 'make test-cluster   servers at three nodes of Galera that all write, one of which is killed; calls by three of RabbitMQ, each killed'
	@echo 'make test-vm        what this kernel lacks in an emulated one: VLAN networks, nftables with connections; and virtual machines on our taps; 15 to 40 minutes'
	@echo 'make test-reachability  100 random changes on three hosts, after each of which packets go where the API says; CHANGES=n SEED=n'
	@echo 'make soak   200 random sequences of calls and kills; SEQUENCES=n for another number'
	@echo 'make lint   formatting, clippy, licences and advisories'
	@echo 'make fmt    format the sources'
	@echo 'make deb    a Debian package in target/deb; DEB_BINARY=path packs a binary that is built already'
	@echo 'make test-deb  install that package in a Debian of its own, run it, purge it'
	@echo 'make test-live a Debian with systemd, emulated, in which that package lives: started, restarted, killed, upgraded, purged'
	@echo 'make bench  measure; UPSTREAM=http://host:9696 measures that beside ours'
	@echo 'make bench-dataplane  packets through the firewall and a router beside a bare bridge; FIREWALL=, ROUNDS='
	@echo 'make bench-dataplane-vm  the nftables firewall in an emulated kernel, where only ratios count; ROUNDS=, VM_SUITE='
	@echo 'make bench-members  how soon a new member of a group of 2,000 is let in on other hosts, and what they touch for it'
	@echo 'make bench-restart  500 ports, 100 networks and 50 routers under packets while all agents are killed; ROUNDS=, FAST_PATH='
	@echo 'make bench-failover  how long a killed host of an HA router is missed; ROUNDS='

run:
	@scripts/set-up run
	$(CARGO) build --release --locked --bin isospin
	$(TARGET)/release/isospin demo $(KEEP)

test:
	@scripts/set-up test
	PROPTEST_RNG_SEED=$(or $(SEED),1) $(CARGO) $(BOUNDED) test --locked --workspace --no-fail-fast

soak:
	@scripts/set-up test
	ISOSPIN_SEQUENCES=$(or $(SEQUENCES),200) $(CARGO) test --locked --test random_sequences -- --nocapture

test-reachability:
	@scripts/set-up test
	ISOSPIN_CHANGES=$(or $(CHANGES),100) ISOSPIN_SEED=$(or $(SEED),$(shell date +%s)) $(CARGO) test --locked --test reachability packets_do -- --nocapture

test-exchange:
	@scripts/set-up test
	UPSTREAM_VENV=$$(scripts/upstream) $(CARGO) test --locked --test exchange -- --ignored --nocapture

test-agents:
	@scripts/set-up test
	@scripts/set-up agents
	UPSTREAM_VENV=$$(scripts/upstream) UPSTREAM25_VENV=$$(scripts/upstream --linuxbridge) \
		$(CARGO) test --locked --test upstream_agents -- --ignored --nocapture --test-threads 1

test-cluster:
	@scripts/set-up test
	@scripts/set-up cluster
	$(CARGO) test --locked --test galera --test concurrency --test router_concurrency galera -- --ignored --nocapture --test-threads 1
	$(CARGO) test --locked -p isospin-oslo --test rabbitmq nodes -- --ignored --nocapture

# Each program of tests runs in a machine of its own, by scripts/vm.
IN_VM = $(CARGO) --config "target.'cfg(all())'.runner='$(CURDIR)/scripts/vm'" test --locked

test-vm:
	@scripts/set-up test
	@scripts/set-up vm
	$(IN_VM) -p isospin-kernel --test monitor --test namespace
	$(IN_VM) -p isospin-agent --test vlan -- --ignored
	$(IN_VM) -p isospin-agent --lib -- --ignored firewall
	ISOSPIN_TEST_FIREWALL=nftables $(IN_VM) -p isospin-agent --test firewall -- --nocapture --test-threads 1
	@VM_SUITE=trixie scripts/set-up vm
	VM_SUITE=trixie ISOSPIN_TEST_FAST_PATH=yes ISOSPIN_TEST_FIREWALL=nftables $(IN_VM) -p isospin-agent --test firewall -- --nocapture --test-threads 1 fast_path
	VM_WITHOUT=nf_conntrack_bridge $(IN_VM) -p isospin-agent --test firewall -- --nocapture a_driver_that_cannot_work
	$(CARGO) test --locked --test virtual_machine -- --ignored --nocapture --test-threads 1

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- --deny warnings
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny check; else echo 'cargo-deny is not installed: licences not checked'; fi

fmt:
	$(CARGO) fmt --all

bench:
	$(CARGO) build --release --locked -p isospin -p isospin-bench
	$(TARGET)/release/isospin-bench --start $(TARGET)/release/isospin $(if $(UPSTREAM),--upstream $(UPSTREAM)) $(BENCH_ARGS)

deb:
	$(if $(DEB_BINARY),,$(CARGO) build --release --locked --bin isospin)
	packaging/deb/build $(or $(DEB_BINARY),$(TARGET)/release/isospin) $(TARGET)/deb

test-deb: deb
	@scripts/set-up deb
	packaging/deb/test $(TARGET)/deb/isospin_*_$$(dpkg --print-architecture).deb $(DEB_ROOT)

test-live: deb
	@scripts/set-up live
	packaging/deb/test-live $(TARGET)/deb/isospin_*_$$(dpkg --print-architecture).deb

bench-upstream:
	bench/upstream.sh

bench-dataplane:
	@scripts/set-up test
	@scripts/set-up dataplane
	$(CARGO) test --locked --test dataplane -- --ignored --nocapture --test-threads 1

# In a kernel that can have the fast path as well.
bench-dataplane-vm: export VM_SUITE ?= trixie
bench-dataplane-vm:
	@scripts/set-up test
	@scripts/set-up vm
	VM_COUNT=yes VM_MEMORY=3G VM_TIMEOUT=5400 $(IN_VM) -p isospin-agent --test firewall -- --ignored --nocapture of_nftables

bench-members:
	@scripts/set-up test
	$(CARGO) build --release --locked --bin isospin
	ISOSPIN_PROGRAM=$(abspath $(TARGET))/release/isospin $(CARGO) test --locked --test reachability -- --ignored --nocapture a_new_member

bench-restart:
	@scripts/set-up test
	$(CARGO) build --release --locked --bin isospin
	ISOSPIN_PROGRAM=$(abspath $(TARGET))/release/isospin $(CARGO) test --locked --test restart -- --ignored --nocapture

bench-failover:
	@scripts/set-up test
	$(CARGO) build --release --locked --bin isospin
	ISOSPIN_PROGRAM=$(abspath $(TARGET))/release/isospin $(CARGO) test --locked --test high_availability -- --ignored --nocapture
