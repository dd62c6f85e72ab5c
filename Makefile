# Everything goes through cli/launch.mjs, which installs what is missing first.
.PHONY: boot test check bench lab grade test-slow test-silicon fuzz setup clean
.DEFAULT_GOAL := boot
N ?= 01

boot:
	@node cli/launch.mjs boot
test: setup
	@node cli/test.mjs
test-slow: setup
	@node cli/test.mjs --slow
test-silicon: setup
	@node cli/test.mjs --slow silicon
fuzz: setup
	@node cli/test.mjs --slow fuzz isolation
check: setup
	@node_modules/.bin/tsc --noEmit
	@node_modules/.bin/biome lint --error-on-warnings .
	@node --import tsx --test test/structure/*.test.ts
bench: setup
	@node cli/launch.mjs bench
lab:
	@node cli/launch.mjs lab '$(N)'
grade:
	@node cli/launch.mjs grade '$(N)' $(if $(FILE),--file '$(FILE)') $(if $(JSON),--json '$(JSON)')
setup:
	@node cli/launch.mjs --setup
clean:
	rm -rf node_modules/.cache lab-work
