# shellcheck shell=sh
# Sourced by setup.sh and portability.sh.

# install_packages WHY MANAGER PACKAGE...: installs the packages with MANAGER (`apt`, `dnf`, ...), saying so; without the
# rights it prints the exact command and fails.
install_packages() {
    why=$1 manager=$2
    shift 2
    refresh=
    case $manager in
    apt)
        # A bare machine has no package lists yet, and nobody to answer questions.
        refresh='apt-get update -qq'
        add='env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends'
        ;;
    dnf) add='dnf install -y' ;;
    pacman) add='pacman -S --noconfirm --needed' ;;
    zypper) add='zypper --non-interactive install' ;;
    apk) add='apk add' ;;
    esac
    if [ "$(id -u)" != 0 ]; then
        echo "$why; to install what is missing, run:" >&2
        echo "    ${refresh:+sudo $refresh && }sudo $add $*" >&2
        return 1
    fi
    echo "$why; installing: $*"
    log=$(mktemp)
    if $refresh >"$log" 2>&1 && $add "$@" >>"$log" 2>&1; then
        rm -f "$log"
    else
        cat "$log" >&2
        rm -f "$log"
        echo "could not install; the command was: ${refresh:+$refresh && }$add $*" >&2
        return 1
    fi
}

# The name of this machine's package manager, for install_packages; nothing if it has none of those.
package_manager() {
    for pair in apt:apt-get dnf:dnf pacman:pacman zypper:zypper apk:apk; do
        if command -v "${pair#*:}" >/dev/null; then
            echo "${pair%%:*}"
            return
        fi
    done
}
