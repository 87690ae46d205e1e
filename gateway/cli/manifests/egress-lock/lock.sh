#!/bin/sh
# Only the user UID, and whoever answers a connection from outside, sends anything out of this network namespace. Loopback is free.
# Fails, and with it the pod's start, where the kernel does not take the rules.
set -eu
uid=${1:-}
case $uid in
    '' | 0 | *[!0-9]*)
        echo "usage: egress-lock UID (a number, the gateway's user; not 0)" >&2
        exit 2
        ;;
esac

# All in one transaction; run again it begins anew. No rule goes by address: names are not looked up by others either.
nft -f - <<RULES
table inet tool_gateway_egress_lock
delete table inet tool_gateway_egress_lock
table inet tool_gateway_egress_lock {
    chain output {
        type filter hook output priority filter; policy drop;
        oifname "lo" accept
        meta skuid $uid accept
        # The kernel's own look for neighbours, without which there is no IPv6.
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } accept
        # Answers to whoever came from outside: the agent's own clients, the kubelet's probes.
        ct direction reply accept
        # The last packets of the gateway's connections belong to nobody any more. Without a SYN none begins.
        tcp flags & syn == 0 ct state established accept
        # Told at once, rather than after a timeout.
        meta l4proto tcp reject with tcp reset
        reject with icmpx type admin-prohibited
    }
}
RULES
echo "egress-lock: only user $uid leaves this network namespace"
