#!/bin/sh
# Gives Linux a Vulkan driver if it has none that can run: Mesa's software one, from the system's packages. With a driver present,
# and off Linux, it does nothing.
set -eu
# shellcheck source=scripts/packages.sh
. "$(dirname "$0")/packages.sh"

# serves FILE: whether the driver that FILE describes can run here. Packages bring descriptions of drivers for graphics cards that
# are not there (Debian's mesa-vulkan-drivers has six), and some are left behind by a driver that is gone.
serves() {
    library=$(sed -n 's/.*"library_path"[^"]*"\([^"]*\)".*/\1/p' "$1" 2>/dev/null | head -n 1)
    case $library in
    '') return 1 ;;
    /*) [ -e "$library" ] || return 1 ;;
    */*) [ -e "$(dirname "$1")/$library" ] || return 1 ;;
    esac
    case $library in
    *lvp* | *swiftshader*) return 0 ;;
    esac
    # Every other driver needs hardware: a render node (Mesa), NVIDIA's, WSL's or a phone's device.
    for node in /dev/dri/renderD* /dev/nvidiactl /dev/dxg /dev/kgsl-3d0 /dev/mali0; do
        if [ -e "$node" ]; then return 0; fi
    done
    return 1
}

# Where the Vulkan loader looks for drivers' descriptions. VK_DRIVER_FILES (formerly VK_ICD_FILENAMES) replaces them all.
has_driver() {
    named=${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}
    if [ -n "$named" ]; then
        for file in $(echo "$named" | tr ':' '\n'); do
            if [ -e "$file" ]; then return; fi
        done
        echo "VK_DRIVER_FILES or VK_ICD_FILENAMES names no existing file: $named" >&2
        exit 1
    fi
    folders="${XDG_CONFIG_HOME:-${HOME:-}/.config}:${XDG_CONFIG_DIRS:-/etc/xdg}:/etc"
    folders="$folders:${XDG_DATA_HOME:-${HOME:-}/.local/share}:${XDG_DATA_DIRS:-/usr/local/share:/usr/share}"
    # NixOS and Guix keep drivers out of the usual places.
    folders="$folders:/usr/local/share:/usr/share:/run/opengl-driver/share:/run/current-system/profile/share"
    for folder in $(echo "$folders" | tr ':' '\n'); do
        for file in "$folder"/vulkan/icd.d/*.json; do
            if serves "$file"; then return; fi
        done
    done
    return 1
}

# Ordinary users on Debian do not have ldconfig on their PATH, and musl's has no `-p`.
has_loader() {
    if PATH="$PATH:/usr/sbin:/sbin" ldconfig -p 2>/dev/null | grep -q 'libvulkan\.so\.1'; then return; fi
    for folder in $(echo "${LD_LIBRARY_PATH:-}" | tr ':' '\n') /usr/local/lib /usr/lib /usr/lib64 /run/opengl-driver/lib; do
        if [ -e "$folder/libvulkan.so.1" ]; then return; fi
    done
    return 1
}

if [ "$(uname -s)" != Linux ] || { has_loader && has_driver; }; then
    exit 0
fi

why="No Vulkan driver found, so Mesa's software driver is needed"
manager=$(package_manager)
case $manager in
apt) packages='mesa-vulkan-drivers libvulkan1' ;;
dnf) packages='mesa-vulkan-drivers vulkan-loader' ;;
pacman) packages='vulkan-swrast vulkan-icd-loader' ;;
zypper) packages='libvulkan_lvp libvulkan1' ;;
apk) packages='mesa-vulkan-swrast vulkan-loader' ;;
*)
    echo "$why; this system has none of apt, dnf, pacman, zypper and apk: install Mesa's lavapipe and the Vulkan loader" >&2
    exit 1
    ;;
esac
# shellcheck disable=SC2086 # one word per package
install_packages "$why" "$manager" $packages
if ! has_loader || ! has_driver; then
    echo "$packages are installed, but still no Vulkan driver is found" >&2
    exit 1
fi
