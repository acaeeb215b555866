# SPDX-License-Identifier: GPL-2.0
# The front door. 'make help' says what there is.

MAKEFLAGS += --no-print-directory
# T=name runs one test, S=seconds says how long to fuzz, B=subject measures one (of bench-peers: B=program,program), KERNEL=7.2 chooses another line of qemu/kernels, KDIR= a kernel build directory of one's own.
T ?=
B ?=
export KERNEL KBUS_CACHE UPDATE

.PHONY: help demo test test-deep fuzz fuzz-core shell terminal bench bench-quick bench-peers profile packages book pictures programs install uninstall mutants module lint fmt clean clean-cache bootstrap

help:
	@echo 'KBUS: a message bus in the kernel, as sockets'
	@echo
	@echo '  make demo         build everything, boot a stock kernel, and watch programs talk over a bus'
	@echo '  make test         every test; T=name for one; ends with "N passed, N failed"'
	@echo '  make test-deep    the long forms, hours; T=kcsan for one step (qemu/deep.sh)'
	@echo '  make fuzz-core    fuzz the parsers and the bus on the host for S=60 seconds each; T=core for one target'
	@echo '  make shell        a machine with the module loaded, and a prompt'
	@echo '  make terminal     another prompt in the machine of make shell, which runs in another terminal of yours'
	@echo '  make bench        instructions that a bus takes, next to AF_UNIX; B=bindings for one subject, B=--help for all;'
	@echo '                    UPDATE=1 puts the tables in docs/performance.md, plots in docs/plots/'
	@echo '  make bench-quick  some of its figures against recorded ones, as make test does; UPDATE=1 records them anew'
	@echo '  make bench-peers  D-Bus, ZeroMQ, MQTT and others beside a bus; B=libdbus for one of qemu/peers/; UPDATE=1 as above'
	@echo '  make profile      where the instructions of a send, a receive and a round trip go, with call trees and flame graphs;'
	@echo '                    B=holds for the longest holds of locks'
	@echo '  make fuzz         fuzz the sockets on the kernel with sanitizers, MINUTES=10; keeps what reaches something new'
	@echo '  make mutants      break net/core/ in each small way, and see that a test fails; T=queue.rs for one file (an hour)'
	@echo '  make book         the pages of docs/ as a book, by mdbook (fetched and compiled the first time)'
	@echo '  make pictures     draws docs/pictures/ anew: kbus monitor and kbus top in the machine'
	@echo '  make packages     Debian packages of all of it (packaging/README.md)'
	@echo '  make install      without packages: command, libraries, pages, files of configuration; PREFIX=/usr/local DESTDIR= LIBDIR='
	@echo '                    PYTHONDIR= SYSCONFDIR=/etc; and the module with KDIR=. Needs cargo, gcc and python3. make programs builds'
	@echo '                    first, as a user. make uninstall'
	@echo '  make module       kbus.ko for KDIR=build-directory, or for Debian KERNEL=$(shell awk "!/^#/{print \$$1; exit}" qemu/kernels)'
	@echo '  make lint fmt     check or mend the style'
	@echo '  make clean        remove what was built here; clean-cache: also the build root and kernels'
	@echo
	@echo 'The first run fetches a build root and a kernel (5 minutes), and make test builds one (20 minutes); they are kept in'
	@echo '$${KBUS_CACHE:-~/.cache/kbus}, outside this folder.'

bootstrap:
	@bash qemu/bootstrap.sh

demo: bootstrap
	@bash qemu/demo.sh

test: bootstrap
	@bash qemu/test.sh '$(T)'

test-deep: bootstrap
	@bash qemu/deep.sh $(T)

fuzz-core: bootstrap
	@bash qemu/fuzz.sh $(or $(S),60) $(T)

shell: bootstrap
	@bash qemu/image.sh
	@bash qemu/boot.sh /dev/null shell

terminal:
	@bash qemu/terminal.sh

bench: bootstrap
	@bash qemu/bench.sh '$(B)'

bench-quick: bootstrap
	@bash qemu/bench-quick.sh

bench-peers: bootstrap
	@bash qemu/bench-peers.sh '$(B)'

profile: bootstrap
	@bash qemu/profile.sh $(B)

fuzz: bootstrap
	@bash qemu/fuzz-sockets.sh '$(MINUTES)'

packages: bootstrap
	@bash packaging/build.sh

book: bootstrap
	@bash qemu/book.sh

pictures: bootstrap
	@bash qemu/pictures.sh

# On the host: needs no bootstrap.
mutants:
	@bash qemu/mutants.sh '$(T)'

ifdef KDIR
module:
	$(MAKE) -C '$(KDIR)' M='$(CURDIR)' modules
else
module: bootstrap
	@bash qemu/module.sh
endif

# On the host, for those who have no package: all but the module, which takes KDIR, and who installs it.
VERSION = $(shell sed -n '/^\[workspace.package\]/,/^$$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
INSTALL = DESTDIR='$(DESTDIR)' PREFIX='$(or $(PREFIX),/usr/local)' SYSCONFDIR='$(SYSCONFDIR)' LIBDIR='$(LIBDIR)' PYTHONDIR='$(PYTHONDIR)'
PROGRAMS = $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/release

# Root may have no cargo: then what a user has built is installed.
programs:
	@if command -v cargo >/dev/null || [ ! -e '$(PROGRAMS)/kbus' ]; then cargo build --locked --release -p kbus-tools; fi
	@$(MAKE) -C lib/c O='$(PROGRAMS)/c' VERSION='$(VERSION)' $(if $(PREFIX),PREFIX='$(PREFIX)') $(if $(LIBDIR),LIBDIR='$(LIBDIR)') all

install: programs $(if $(KDIR),module)
	@$(INSTALL) sh packaging/install.sh '$(VERSION)' '$(PROGRAMS)/kbus' '$(PROGRAMS)/c' \
		$(if $(KDIR),kbus.ko "$$(cat '$(KDIR)/include/config/kernel.release')")

uninstall:
	@$(INSTALL) sh packaging/install.sh --uninstall

lint: bootstrap
	@bash qemu/lint.sh

fmt: bootstrap
	@bash -c '. qemu/lib.sh; choose_kernel; in_root rustfmt --edition 2021 --config-path "$$KERNELSRC/.rustfmt.toml" $$(find net -name "*.rs"); in_root cargo fmt -p kbus-selftests -p kbus-uapi -p kbus-interleavings'

clean:
	rm -rf target
	@bash -c '. qemu/lib.sh; rm -rf "$$WORK"'

clean-cache: clean
	@bash -c '. qemu/lib.sh; rm -rf --one-file-system "$$CACHE"'
