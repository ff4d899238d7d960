#!/usr/bin/env bash
# Packs the command with its completions and manual pages: see `scripts/package.sh --help`.
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: scripts/package.sh [--binary FILE] [DIR]

Makes DIR/maskstream-VERSION-TARGET.tar.gz, by default in target/package. In it: bin/maskstream, completions for bash,
zsh and fish where these look for them below a prefix, a manual page for each subcommand, and the licences. Unpack it
into a prefix, such as /usr/local or ~/.local:

  tar -xzf maskstream-VERSION-TARGET.tar.gz --strip-components=1 -C ~/.local

Builds the command in release mode, unless --binary names one. The same sources give the same archive, byte for byte. An
archive that exists is not overwritten.
USAGE
}

fail() {
    echo "scripts/package.sh: $*" >&2
    exit "${status:-1}"
}

binary='' dir=''
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage && exit ;;
    --binary) [ $# -ge 2 ] || status=2 fail '--binary needs a file'; binary=$(realpath -- "$2") && shift ;;
    -*) status=2 fail "there is no option $1: see --help" ;;
    *) [ -z "$dir" ] || status=2 fail "one directory is enough: $dir, $1"; dir=$(realpath -m -- "$1") ;;
    esac
    shift
done
cd "$(dirname "$0")/.."
dir=${dir:-target/package}
if [ -z "$binary" ]; then
    cargo build --release --locked --bin maskstream
    binary=${CARGO_TARGET_DIR:-target}/release/maskstream
fi

case $("$binary" --version 2>/dev/null) in
maskstream\ *) ;;
*) fail "$binary is not the command maskstream" ;;
esac
version=$("$binary" --version | cut -d ' ' -f 2)
target=$(rustc -vV | sed -n 's/^host: //p')
name=maskstream-$version-$target
archive=$dir/$name.tar.gz
[ ! -e "$archive" ] || fail "$archive exists: remove it, or name another directory"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
share=$work/$name/share
mkdir -p "$share"/{bash-completion/completions,zsh/site-functions,fish/vendor_completions.d,doc/maskstream}
install -D "$binary" "$work/$name/bin/maskstream"
"$binary" completions bash >"$share/bash-completion/completions/maskstream"
"$binary" completions zsh >"$share/zsh/site-functions/_maskstream"
"$binary" completions fish >"$share/fish/vendor_completions.d/maskstream.fish"
"$binary" man "$share/man/man1" >/dev/null
cp LICENSE-APACHE LICENSE-MIT CHANGELOG.md "$share/doc/maskstream"

mkdir -p "$dir"
# Neither times nor owners nor the order of a directory: the same files give the same bytes.
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime='1970-01-01 UTC' --mode=u+rwX,go+rX,go-w \
    -C "$work" -c "$name" | gzip -n >"$work/archive"
cp --no-clobber "$work/archive" "$archive"
cmp -s "$work/archive" "$archive" || fail "$archive has been made by someone else meanwhile"
echo "$archive"
