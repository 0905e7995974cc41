#!/bin/sh
# What makes one machine into many; follows change_machine.sh, whose functions it uses.
# shellcheck disable=SC2154  # set there
# shellcheck disable=SC2317,SC2329  # the calls follow

# clean_machine FILE...: of what may not be the same on two machines nothing stays: identity, keys,
# logs, and the network. Of these files those that we wrote are as they were in the image; what it
# brought and we did not touch stays.
clean_machine() {
    if command -v cloud-init >/dev/null; then
        bounded cloud-init clean --logs
    fi
    for path; do
        case $newline$touched$newline in
        *"$newline$path$newline"*) take_back "$path" ;;
        esac
    done
    find "$state" -mindepth 1 -maxdepth 1 ! -name first-upgrade -exec rm -rf {} +
    rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
    : >/etc/machine-id
    [ -L /var/lib/dbus/machine-id ] || rm -f /var/lib/dbus/machine-id
    rm -f /var/lib/systemd/random-seed /var/lib/dhcp/*.leases /root/.bash_history
    bounded apt-get clean
    rm -rf /var/log/journal/*
    find /var/log -type f -exec truncate -s 0 {} +
}
