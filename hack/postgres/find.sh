#!/bin/sh
# Prints the folder that holds the binaries initdb and postgres, which tests of sinks run: those of the
# PATH, of Debian's folders, or of the cache. Else Debian's packages are downloaded and unpacked into the cache: nothing is
# installed, no service is started, no root is needed.
#
#   hack/postgres/find.sh
#
#   MILLRACE_CACHE   cache folder, default ${XDG_CACHE_HOME:-~/.cache}/millrace
set -eu

# A link on the PATH may lead to one of them alone.
if found=$(command -v postgres) && found=$(dirname "$(readlink -f "$found")") && [ -x "$found/initdb" ]; then
	echo "$found"
	exit 0
fi
cache=${MILLRACE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/millrace}/postgres
for root in "" "$cache"; do
	for bin in "$root"/usr/lib/postgresql/*/bin; do
		if [ -x "$bin/postgres" ] && [ -x "$bin/initdb" ]; then
			echo "$bin"
			exit 0
		fi
	done
done

if ! command -v apt-get >/dev/null; then
	echo "postgres and initdb are missing: put them on the PATH (apt-get install postgresql, or your packages)" >&2
	exit 1
fi
mkdir -p "$cache"
temp=$(mktemp -d "$cache/.get-XXXXXX")
trap 'rm -rf "$temp"' EXIT
trap 'exit 130' INT TERM
# A new machine has no package lists yet; reading them needs root.
apt-cache show postgresql >/dev/null 2>&1 || apt-get update >&2
package=$(apt-cache depends postgresql | sed -n 's/^ *Depends: \(postgresql-[0-9]*\)$/\1/p' | head -n 1)
# The libraries that a machine without PostgreSQL may lack.
libraries=$(apt-cache depends "$package" | sed -n 's/^ *Depends: \(lib\(pq\|icu\|ldap\|xml2\|xslt1\)[^ ]*\)$/\1/p')
echo "downloading the Debian package $package, once" >&2
# shellcheck disable=SC2086 # a list
(cd "$temp" && apt-get download "$package" $libraries) >&2
for deb in "$temp"/*.deb; do
	dpkg-deb -x "$deb" "$temp/root"
done
bin=$(echo "$temp"/root/usr/lib/postgresql/*/bin)
LD_LIBRARY_PATH=$(echo "$temp"/root/usr/lib/*-linux-gnu) "$bin/postgres" --version >/dev/null
rm -rf "$cache/usr"
mv "$temp/root/usr" "$cache/usr"
echo "$cache"/usr/lib/postgresql/*/bin
