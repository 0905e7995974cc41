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
            ifdown --force "$interface" || true
            bounded ifup "$interface"
        done
        ;;
    networkd)
        systemctl enable systemd-networkd.service
        bounded systemctl restart systemd-networkd.service
        ;;
    esac
}

# await_address INTERFACE ADDRESS/LENGTH
await_address() {
    patience=$(($(now) + 20))
    until ip -o addr show dev "$1" | grep -qF " $2 "; do
        [ "$(now)" -lt "$patience" ] ||
            fail "$1 did not get $2 within 20 s: $(networkctl --no-pager status "$1" 2>&1 | tail -n 4)"
        sleep 0.1
    done
}

# start_ssh: its host keys are there, it runs now and after a reboot.
start_ssh() {
    command -v sshd >/dev/null || fail "there is no sshd: openssh-server is not in bootstrap.packages"
    ssh-keygen -A
    if ! systemctl is-active --quiet ssh.socket; then
        systemctl enable ssh.service
        bounded systemctl start ssh.service
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
            return
        fi
    done
}
