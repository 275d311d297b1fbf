#!/bin/sh
# Prints the path of a Chromium without a display, which the tests of the console drive.
# One on the PATH is taken when it is there. Else the Debian package is downloaded and unpacked into the cache, with the
# libraries and fonts that the machine lacks: nothing is installed, no service is started, no root is needed.
#
#   hack/chromium/find.sh
#
#   MILLRACE_CACHE   cache folder, default ${XDG_CACHE_HOME:-~/.cache}/millrace
set -eu

for name in chromium-headless-shell chromium chromium-browser google-chrome; do
	if found=$(command -v "$name") && "$found" --version >/dev/null 2>&1; then
		echo "$found"
		exit 0
	fi
done

cache=${MILLRACE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/millrace}/chromium
start=$cache/chromium
if [ -x "$start" ]; then
	echo "$start"
	exit 0
fi

if ! command -v apt-get >/dev/null; then
	echo "chromium is missing: put it on the PATH (apt-get install chromium, or your packages)" >&2
	exit 1
fi
mkdir -p "$cache"
temp=$(mktemp -d "$cache/.get-XXXXXX")
trap 'rm -rf "$temp"' EXIT
trap 'exit 130' INT TERM
# A new machine has no package lists yet; reading them needs root.
apt-cache show chromium-headless-shell >/dev/null 2>&1 || apt-get update >&2
# What an installation would add: the package, and what it needs and the machine lacks.
wanted() { apt-get -s install --no-install-recommends chromium-headless-shell fonts-dejavu-core fontconfig-config | sed -n 's/^Inst \([^ ]*\) .*/\1/p'; }
packages=$(wanted)
[ -n "$packages" ] || { apt-get update >&2 && packages=$(wanted); }
[ -n "$packages" ] || { echo "apt-get knows no chromium-headless-shell: put a chromium on the PATH" >&2; exit 1; }
echo "downloading the Debian package chromium-headless-shell, once" >&2
# shellcheck disable=SC2086 # a list
(cd "$temp" && { apt-get download $packages || { apt-get update && apt-get download $(wanted); }; }) >&2
for deb in "$temp"/*.deb; do
	dpkg-deb -x "$deb" "$temp/root"
done
# A font that only stands in the cache has to be found there.
mkdir -p "$temp/root/etc/fonts"
cat >"$temp/root/etc/fonts/millrace.conf" <<EOF
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <dir>/usr/share/fonts</dir>
  <dir>$cache/root/usr/share/fonts</dir>
  <cachedir>$cache/fontconfig</cachedir>
  <match target="pattern"><test name="family"><string>monospace</string></test><edit name="family" mode="prepend" binding="strong"><string>DejaVu Sans Mono</string></edit></match>
  <match target="pattern"><edit name="family" mode="append_last" binding="strong"><string>DejaVu Sans</string></edit></match>
</fontconfig>
EOF
binary=$(cd "$temp/root" && find usr/lib -type f -perm -u+x \( -name chromium-headless-shell -o -name headless_shell -o -name headless-shell \) | head -n 1)
libraries=$(cd "$temp/root" && find usr/lib -name '*.so*' -exec dirname {} + | sort -u | sed "s|^|$cache/root/|" | tr '\n' ':')
rm -rf "$cache/root" "$start"
mv "$temp/root" "$cache/root"
cat >"$temp/chromium" <<EOF
#!/bin/sh
export LD_LIBRARY_PATH="$libraries\${LD_LIBRARY_PATH:-}"
export FONTCONFIG_FILE="$cache/root/etc/fonts/millrace.conf"
exec "$cache/root/$binary" "\$@"
EOF
chmod +x "$temp/chromium"
"$temp/chromium" --version >&2
mv "$temp/chromium" "$start"
echo "$start"
