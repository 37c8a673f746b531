#!/bin/sh
# Installs what the build (`deps.sh build`), the tests (`test`), the benchmarks (`bench`) or the fuzz
# targets (`fuzz`) need and this machine lacks.
# What is there already is not touched and not mentioned; each step that runs prints one line.
set -eu
cd "$(dirname "$0")/.."

LOGS=target/deps
NODE_SDKS=tests/sdk/node
PYTHON_SDKS=tests/sdk/python
NODE_MAJOR_MIN=18
PIPELINE=benches/peers/pipeline
QHOOK=0.6.1
PROMETHEUS=target/deps/prometheus

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# step LOG TITLE COMMAND…: runs it quietly; its output is shown only when it fails.
# COMMAND runs without `set -e`, so functions given here chain with &&.
step() {
    step_log=$LOGS/$1.log step_title=$2
    shift 2
    mkdir -p "$LOGS"
    step_start=$(date +%s)
    printf '%s ... ' "$step_title"
    if "$@" >"$step_log" 2>&1 </dev/null; then
        printf '%ss\n' "$(($(date +%s) - step_start))"
    else
        printf 'failed\n'
        cat "$step_log" >&2
        fail "$step_title failed; the output above is in $step_log"
    fi
}

# ---- Debian packages

apt_install() {
    have apt-get || fail "missing here: $*; there is no apt-get, so install them with this system's package manager"
    can_be_root ||
        fail "missing here: $*; this user is not root and there is no sudo, so run as root: apt-get install $*"
    step apt "apt-get install $*" apt_get "$@"
}

can_be_root() {
    if [ "$(id -u)" -eq 0 ]; then
        sudo=
    elif have sudo; then
        sudo=sudo
    else
        return 1
    fi
}

# A source that cannot be refreshed need not be the one that has the packages.
apt_get() {
    $sudo apt-get update || echo "apt-get update failed; going on with the lists that are there"
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

# ---- What the build needs: Rust, and a C compiler and CMake for zlib-ng, zstd and ring

rust_is_new_enough() {
    minor_min=$(sed -n 's/^rust-version = "1\.\([0-9]*\).*/\1/p' Cargo.toml)
    minor=$(cargo --version | sed 's/^cargo 1\.\([0-9]*\).*/\1/')
    [ "$minor" -ge "${minor_min:-0}" ]
}

can_compile_c() {
    printf '#include <stdlib.h>\nint main(void) { return EXIT_SUCCESS; }\n' |
        cc -x c -o /dev/null - >/dev/null 2>&1
}

build_deps() {
    have cargo || fail "cargo is missing: install Rust with rustup (https://rustup.rs), then open a new shell"
    rust_is_new_enough ||
        fail "$(cargo --version) is older than rust-version in Cargo.toml: run 'rustup update'"
    packages=
    have make || packages="$packages make"
    have cmake || packages="$packages cmake"
    can_compile_c || packages="$packages gcc libc6-dev"
    # shellcheck disable=SC2086 # a list of words
    [ -z "$packages" ] || apt_install $packages
}

# ---- What the tests need besides: promtool, and the providers' official SDKs for Python and Node

promtool_runs() {
    promtool --version >/dev/null 2>&1 || $PROMETHEUS/usr/bin/promtool --version >/dev/null 2>&1
}

# Installed, the package would start a server; unpacked, it needs no root either.
install_promtool() {
    if promtool_runs; then return 0; fi
    if ! have apt-get || ! have dpkg-deb; then
        fail "promtool is missing, and this is no Debian: install Prometheus, so that promtool is on the PATH"
    fi
    step promtool "promtool into $PROMETHEUS" unpack_promtool
}

unpack_promtool() {
    rm -rf $PROMETHEUS && mkdir -p $PROMETHEUS && (
        cd $PROMETHEUS && download_prometheus &&
            dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool &&
            rm prometheus_*.deb
    ) && promtool_runs
}

# The lists may be missing, or name a version that is there no more.
download_prometheus() {
    apt-get download prometheus && return
    if can_be_root; then
        $sudo apt-get update
    else
        echo "this user cannot refresh the lists; as root, run: apt-get update"
    fi
    apt-get download prometheus
}

python_is_usable() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    for python in python3 python3.14 python3.13 python3.12 python3.11; do
        if python_is_usable "$python"; then return 0; fi
    done
    return 1
}

# install_venv FOLDER FILE: a new one, with what the file lists.
install_venv() {
    "$python" -m venv --clear "$1" &&
        "$1/bin/python" -m pip install -q --disable-pip-version-check -r "$PYTHON_SDKS/$2" &&
        cp "$PYTHON_SDKS/$2" "$1/$2.installed"
}

# venv STEP FOLDER FILE WHAT: one that has what the file lists now.
venv() {
    if cmp -s "$PYTHON_SDKS/$3" "$2/$3.installed" && "$2/bin/python" -c '' 2>/dev/null; then
        return 0
    fi
    find_python || apt_install python3 python3-venv
    find_python || fail "Python 3.11 or newer with venv is missing: the $4 in $PYTHON_SDKS need it"
    step "$1" "$4 into $2" install_venv "$2" "$3"
}

python_sdks() {
    venv python-sdks .venv requirements.txt "Python SDKs"
}

# What reads the same list as Hookgate, to compare: apart, since it pins other versions of much.
python_peers() {
    venv python-peers .venv-peers peers.txt "dlt and airbyte-cdk"
}

# Bots, apart: their libraries pin other versions of what the SDKs need.
python_bots() {
    venv python-bots .venv-bots bots.txt "bot libraries"
}

node_is_usable() {
    node -e "process.exit(parseInt(process.versions.node) < $NODE_MAJOR_MIN ? 1 : 0)" >/dev/null 2>&1
}

install_node_sdks() {
    (cd $NODE_SDKS && npm ci --ignore-scripts --no-audit --no-fund) &&
        cp $NODE_SDKS/package-lock.json $NODE_SDKS/node_modules/.installed-lock.json
}

node_sdks() {
    if ! have node || ! have npm; then
        if have node; then apt_install npm; else apt_install nodejs npm; fi
    fi
    node_is_usable ||
        fail "Node $NODE_MAJOR_MIN or newer is missing (found $(node --version)): the SDKs in $NODE_SDKS need it"
    if ! cmp -s $NODE_SDKS/package-lock.json $NODE_SDKS/node_modules/.installed-lock.json; then
        step node-sdks "node SDKs into $NODE_SDKS/node_modules" install_node_sdks
    fi
}

# ---- What the comparison with other servers needs: the servers, and what loads them

bench_peers() {
    packages=
    have nginx || packages="$packages nginx-light"
    [ -f /usr/lib/nginx/modules/ngx_http_lua_module.so ] || packages="$packages libnginx-mod-http-lua"
    have haproxy || packages="$packages haproxy"
    [ -f /usr/lib/x86_64-linux-gnu/lua/5.3/_openssl.so ] || packages="$packages lua-luaossl"
    have wrk || packages="$packages wrk"
    have h2load || packages="$packages nghttp2-client"
    have taskset || packages="$packages util-linux"
    have redis-server || packages="$packages redis-server"
    if ! have node || ! have npm; then packages="$packages nodejs npm"; fi
    # shellcheck disable=SC2086 # a list of words
    [ -z "$packages" ] || apt_install $packages
    if ! cmp -s $PIPELINE/package-lock.json $PIPELINE/node_modules/.installed-lock.json; then
        step pipeline "node modules into $PIPELINE/node_modules" install_pipeline
    fi
    python_peers
    have qhook || step qhook "cargo install qhook" cargo install --locked qhook --version $QHOOK
}

install_pipeline() {
    (cd $PIPELINE && npm ci --ignore-scripts --no-audit --no-fund) &&
        cp $PIPELINE/package-lock.json $PIPELINE/node_modules/.installed-lock.json
}

# ---- What the fuzz targets need besides: cargo-fuzz, and a C++ compiler for libFuzzer

can_compile_cxx() {
    printf '#include <vector>\nint main() { return std::vector<int>().size(); }\n' |
        c++ -x c++ -o /dev/null - >/dev/null 2>&1
}

cargo_fuzz() {
    can_compile_cxx || apt_install g++
    if ! cargo fuzz --version >/dev/null 2>&1; then
        step cargo-fuzz "cargo install cargo-fuzz" cargo install --locked cargo-fuzz
    fi
}

case ${1-} in
build)
    build_deps
    ;;
test)
    build_deps
    # The tests send signals with the program, not with the shell's own command.
    env kill -l >/dev/null 2>&1 || apt_install procps
    have prlimit || apt_install util-linux
    # Clocks that jump.
    ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || apt_install libfaketime
    install_promtool
    python_sdks
    python_peers
    python_bots
    node_sdks
    ;;
bench)
    build_deps
    bench_peers
    ;;
fuzz)
    build_deps
    cargo_fuzz
    ;;
*)
    fail "usage: deps.sh build|test|bench|fuzz"
    ;;
esac
