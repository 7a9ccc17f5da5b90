# SPDX-License-Identifier: Apache-2.0
# Sourced by the other scripts: installs the Debian packages that are missing, or says how.

say() { printf '\n== %s\n' "$*"; }

packages_build="gcc cmake ninja-build pkg-config libc6-dev libdnnl-dev libjansson-dev libzip-dev libprotobuf-c-dev protobuf-c-compiler libonnx-dev coinor-libcbc-dev ocl-icd-opencl-dev opencl-headers libclblast-dev"
packages_run="pocl-opencl-icd"
packages_test="libcmocka-dev python3 python3-venv g++ git ca-certificates fonts-dejavu-core fortunes libonnx-testdata oclgrind binutils"
packages_aarch64="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"

# need_packages GROUP...: build, test, aarch64. Root installs; others are told the exact line.
need_packages() {
    list="$packages_build $packages_run"
    for group in "$@"; do
        case $group in
            test) list="$list $packages_test" ;;
            aarch64) list="$list $packages_aarch64" ;;
        esac
    done
    missing=""
    for p in $list; do
        dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
    done
    [ -z "$missing" ] && return 0
    if [ "$(id -u)" = 0 ]; then
        say "installing:$missing"
        export DEBIAN_FRONTEND=noninteractive
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing >/dev/null; } && return 0
    fi
    echo "These Debian packages are missing. Install them as root, then run this again:" >&2
    echo "    apt-get update && apt-get install -y$missing" >&2
    exit 2
}
