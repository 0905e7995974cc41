#!/bin/sh
# What only a controller has: a key and a certificate of its own, made there; this project in a
# virtual environment. Follows change_machine.sh, whose functions it uses.
# shellcheck disable=SC2154  # set there
# shellcheck disable=SC2317,SC2329  # the calls follow

# private_folder PATH: for root alone.
private_folder() {
    install -d -m 700 -o root -g root "$1"
}

# make_key PATH COMMENT: what an earlier run has made of it stays.
make_key() {
    private_folder "${1%/*}"
    if [ ! -f "$1" ]; then
        rm -f -- "$1.new" "$1.new.pub"
        ssh-keygen -q -t ed25519 -N '' -C "$2" -f "$1.new"
        mv -fT -- "$1.new" "$1"
        rm -f -- "$1.new.pub"
    fi
    chown root:root "$1"
    chmod 600 "$1"
    public=$(ssh-keygen -y -P '' -f "$1") || fail "$1 is no SSH key without a passphrase; move it away"
    printf '%s %s\n' "$(printf %s "$public" | cut -d' ' -f1,2)" "$2" >"$1.pub.new"
    chmod 644 "$1.pub.new"
    mv -fT -- "$1.pub.new" "$1.pub"
}

# make_certificate CERTIFICATE KEY NAME: as lxc makes its own; half a pair is none.
make_certificate() {
    folder=${1%/*}
    private_folder "$state"
    private_folder "${folder%/*}"
    private_folder "$folder"
    if [ ! -f "$1" ] || [ ! -f "$2" ]; then
        rm -f -- "$1" "$2.new" "$1.new"
        (umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:secp384r1 -sha384 \
            -nodes -days 3650 -subj "/O=nornir-lxd-fleet/CN=$3" \
            -addext basicConstraints=critical,CA:false -addext extendedKeyUsage=clientAuth \
            -keyout "$2.new" -out "$1.new")
        mv -fT -- "$2.new" "$2"
        mv -fT -- "$1.new" "$1"
    fi
    chown root:root "$1" "$2"
    chmod 600 "$1" "$2"
}

# install_program WHEELS FOLDER FINGERPRINT DISTRIBUTION: into a folder of their and its Python's
# own, which takes the place of the one before once it is whole.
install_program() {
    python=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    name=$3-$python
    new=$2/$name
    if [ ! -e "$new/complete" ]; then
        /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
            fail "its $(/usr/bin/python3 --version) is older than 3.10"
        rm -rf -- "$new"
        mkdir -p "$new/wheels"
        tar -x -C "$new/wheels" -f "$work/content/$1"
        bounded /usr/bin/python3 -m venv "$new/venv"
        bounded "$new/venv/bin/python" -m pip --disable-pip-version-check --no-cache-dir -q install \
            --no-index --find-links "$new/wheels" "$4" ||
            fail "the wheels do not fit $(/usr/bin/python3 --version) there: make them with the same Python"
        printf '%s %s\n' "$3" "$python" >"$new/complete.new"
        sync "$new/complete.new"
        mv -fT -- "$new/complete.new" "$new/complete"
    fi
    ln -sfnT "$name" "$2/current.new"
    mv -fT -- "$2/current.new" "$2/current"
    for former in "$2"/*; do
        case ${former##*/} in
        "$name" | current) ;;
        *) rm -rf -- "$former" ;;
        esac
    done
}
