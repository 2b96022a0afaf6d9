#!/usr/bin/env bash
# Qt, OpenGL and the virtual screen need system packages that no wheel carries.
# Installs what is missing if it may, else says the one line to type.
#
# usage: tools/system_libraries.sh [PYTHON]   (PYTHON is checked for venv as well)
set -euo pipefail

[[ $(uname -s) == Linux ]] || exit 0

# The Debian package, and the library or command by which any distribution shows that it has it.
needs="
xvfb                  Xvfb
xauth                 xauth
libgl1                libGL.so.1
libegl1               libEGL.so.1
libxcb-cursor0        libxcb-cursor.so.0
libxcb-icccm4         libxcb-icccm.so.4
libxcb-image0         libxcb-image.so.0
libxcb-keysyms1       libxcb-keysyms.so.1
libxcb-randr0         libxcb-randr.so.0
libxcb-render-util0   libxcb-render-util.so.0
libxcb-shape0         libxcb-shape.so.0
libxcb-xinerama0      libxcb-xinerama.so.0
libxcb-xkb1           libxcb-xkb.so.1
libxkbcommon-x11-0    libxkbcommon-x11.so.0
libdbus-1-3           libdbus-1.so.3
libfontconfig1        libfontconfig.so.1
libglib2.0-0          libglib-2.0.so.0
"
# The tests of the browser viewer run in one of these; a Chrome that is there will do.
browsers="chromium chromium-browser google-chrome google-chrome-stable chrome"

# An ordinary user's PATH often lacks /sbin, where ldconfig lives.
export PATH="$PATH:/usr/sbin:/sbin"

missing_packages() {
    local libraries package shown_by
    libraries=$(ldconfig -p)
    while read -r package shown_by; do
        [[ -z $package || $libraries == *"$shown_by "* ]] ||
            command -v "$shown_by" >/dev/null || echo "$package"
    done <<<"$needs"
    compgen -G '/usr/lib*/dri/swrast_dri.so' >/dev/null ||
        compgen -G '/usr/lib/*/dri/swrast_dri.so' >/dev/null || echo libgl1-mesa-dri
    # shellcheck disable=SC2086 # several names
    command -v $browsers >/dev/null || echo chromium
    # Without any font Qt draws every text as empty boxes.
    [[ -n $(find /usr/share/fonts /usr/local/share/fonts -name '*.[to]t[fc]' -print -quit 2>/dev/null) ]] ||
        echo fonts-dejavu-core
    # Debian splits ensurepip, without which venv makes no pip, off its Python.
    [[ -z ${1:-} ]] || "$1" -c 'import ensurepip, venv' 2>/dev/null ||
        "$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
}

mapfile -t missing < <(missing_packages "${1:-}")
((${#missing[@]})) || exit 0

install_missing() {
    local as_root=()
    ((EUID == 0)) || as_root=(sudo -n)
    "${as_root[@]}" true && "${as_root[@]}" apt-get update --quiet &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install --quiet --yes --no-install-recommends "${missing[@]}"
}

# Whoever may not install goes on: most of the package works without a screen.
if ! command -v apt-get >/dev/null; then
    echo "Please install your distribution's equivalents of: ${missing[*]}" >&2
elif ! install_missing; then
    echo "Please type: sudo apt-get update && sudo apt-get install ${missing[*]}" >&2
fi
