#!/bin/sh
# What only a bootstrap does; follows change_machine.sh, whose functions it uses.
# shellcheck disable=SC2154  # set there
# shellcheck disable=SC2317,SC2329  # the calls follow

# apply_network TOOL INTERFACE...: make the tool act upon the files just written.
apply_network() {
    tool=$1
    shift
    for interface; do
        [ -e "/sys/class/net/$interface" ] ||
            fail "there is no interface $interface here, only: $(ls -x /sys/class/net)"
    done
    case $tool in
    netplan) bounded netplan apply ;;
    ifupdown)
        grep -q 'interfaces\.d' /etc/network/interfaces 2>/dev/null ||
            printf 'source /etc/network/interfaces.d/*\n' >>/etc/network/interfaces
        for interface; do
            bounded ifdown --force "$interface" || true
            bounded ifup "$interface"
        done
        ;;
    networkd)
        systemctl enable systemd-networkd.service
        bounded systemctl restart systemd-networkd.service
        ;;
    esac
}

# leave_addresses INTERFACE ADDRESS/LENGTH ...: noted before their file changes, so that a run that is
# killed in between does not leave them there for ever.
leave_addresses() {
    ours
    printf '%s %s\n' "$@" >"$state/leaving.new"
    mv -f "$state/leaving.new" "$state/leaving"
}

# drop_addresses INTERFACE...: those that are noted, with the IPv6 routes that the last one leaves
# behind; the kernel itself takes those of IPv4.
drop_addresses() {
    for interface; do
        for address in $(noted_of "$interface"); do
            if has_address "$interface" "$address"; then
                ip addr del "$address" dev "$interface"
            fi
        done
        if [ -z "$(ip -o addr show dev "$interface" scope global 2>&1)" ]; then
            ip -6 route flush dev "$interface" proto static || true
            ip -6 route flush dev "$interface" proto boot || true
        fi
    done
}

# see_them_gone INTERFACE...: after the tool has acted upon its files; what it still sets is an error.
see_them_gone() {
    drop_addresses "$@"
    for interface; do
        for address in $(noted_of "$interface"); do
            ! has_address "$interface" "$address" || fail "$interface still has $address"
            forget leaving "$interface $address"
        done
    done
}

noted_of() { sed -n "s|^$1 ||p" "$state/leaving" 2>/dev/null || true; }

has_address() { ip -o addr show dev "$1" 2>/dev/null | grep -qF " $2 "; }

# remove_network TOOL FILE INTERFACE...: a file of ours goes, and what was there before it comes back.
remove_network() {
    tool=$1
    path=$2
    shift 2
    if [ "$tool" = ifupdown ]; then
        for interface; do
            bounded ifdown --force "$interface" || true
        done
    fi
    # one of ours of an earlier time is nothing to come back to
    if [ "$(head -n 1 "$path")" = "$(head -n 1 "$state/backup$path" 2>/dev/null)" ]; then
        rm -f -- "$state/backup$path"
    fi
    take_back "$path"
    reload_network "$tool" "$@"
}

# reload_network TOOL INTERFACE...: it acts upon the files that are left, and what is noted is gone.
reload_network() {
    tool=$1
    shift
    drop_addresses "$@"
    case $tool in
    netplan) bounded netplan apply ;;
    networkd) bounded systemctl try-restart systemd-networkd.service ;;
    esac
    see_them_gone "$@"
}

# await_address INTERFACE ADDRESS/LENGTH
await_address() {
    patience=$(($(now) + 20))
    until has_address "$1" "$2"; do
        [ "$(now)" -lt "$patience" ] ||
            fail "$1 did not get $2 within 20 s: $(networkctl --no-pager status "$1" 2>&1 | tail -n 4)"
        sleep 0.1
    done
}

# await_last_try UNIT: systemd starts one that failed some times more, all in some seconds.
await_last_try() {
    looks=0
    while [ "$(systemctl is-active "$1")" = activating ] && [ $looks -lt 100 ]; do
        looks=$((looks + 1))
        sleep 0.2
    done
}

# start_ssh: its host keys are there, it runs now and after a reboot. Where it does not start, exec
# still leads here, and the configuration may have what it lacks: exit status 77.
start_ssh() {
    command -v sshd >/dev/null || fail "there is no sshd: openssh-server is not in bootstrap.packages"
    ssh-keygen -A
    if ! systemctl is-active --quiet ssh.socket; then
        systemctl enable ssh.service
        if ! bounded systemctl start ssh.service; then
            : >"$log"
            journalctl --sync || true
            journalctl --no-pager -q -o cat -n 8 -u ssh.service || true
            await_last_try ssh.service
            # systemd has taken it away, and without it sshd -t, which may validate a file, fails
            install -d -m 755 /run/sshd
            exit 77
        fi
    fi
}

# announce INTERFACE ADDRESS: ask the network for that address, so that whoever remembers another
# machine at ours (a container of this name that is gone) hears who has it now. It need not answer.
announce() {
    if command -v ping >/dev/null; then
        ping -n -c 1 -W 1 -I "$1" "$2" || true
    fi
}

# tell_host_key: to the controller, before it logs in for the first time.
tell_host_key() {
    for type in ed25519 ecdsa rsa; do
        if [ -s "/etc/ssh/ssh_host_${type}_key.pub" ]; then
            printf 'host_key %s\n' "$(cut -d' ' -f1,2 "/etc/ssh/ssh_host_${type}_key.pub")" >&3
            break
        fi
    done
    echo end >&3
}
