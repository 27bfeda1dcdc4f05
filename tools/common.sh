# common.sh - what run.sh and check.sh share: packages, and a user who is not root
#
# Read with "." from the top of the checkout, under set -eu.

PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config}
SERVER_PACKAGES="postgresql-15 postgresql-15-postgis-3 postgresql-server-dev-15 gcc libc6-dev make"

# The make that calls us must not talk to the one we call.
unset MAKEFLAGS MFLAGS MAKELEVEL
umask 022

# Prints its arguments, each on a line.
say()
{
	printf '%s\n' "$@"
}

die()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# Installs those of the named Debian packages that are missing.
need_packages()
{
	command -v dpkg-query >/dev/null || die "this needs Debian 12 (dpkg-query not found)"

	local package missing='' sudo='' apt_get problem
	for package; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
			missing="$missing $package"
	done
	[ -n "$missing" ] || return 0

	if [ "$(id -u)" != 0 ]; then
		sudo=sudo
		command -v sudo >/dev/null ||
			die "Debian packages are missing; as root: apt-get install$missing"
	fi
	say "installing Debian packages:$missing"
	case "$missing " in
	*' postgresql-15 '*) say "(it makes a cluster of its own, main, which at402 leaves alone)" ;;
	esac

	# The lists of packages are fetched only where those at hand do not do.
	apt_get="$sudo env DEBIAN_FRONTEND=noninteractive apt-get"
	problem=$($apt_get install -y --no-install-recommends $missing 2>&1 >/dev/null </dev/null) ||
		problem=$({ $apt_get update
			$apt_get install -y --no-install-recommends $missing; } 2>&1 >/dev/null </dev/null) ||
		die "no package source gives$missing: $(say "$problem" |
			grep -v 'unable to resolve host' | grep -m 1 -E '^(E|sudo):')"	# a mere warning
}

# PostgreSQL refuses to run as root: then it is user postgres of Debian's package who runs it.
server_user()
{
	if [ "$(id -u)" = 0 ]; then
		say postgres
	else
		id -un
	fi
}

# as_user USER COMMAND...
as_user()
{
	local user=$1
	shift
	if [ "$(id -un)" = "$user" ]; then
		"$@"
	else
		runuser -u "$user" -- "$@"
	fi
}
