#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Usage: no_spill.sh LEAST OBJECT - fails when an innermost loop with vpdpbusd in it stores a vector register to the stack,
# or when fewer than LEAST such loops are found, since then the check looks at the wrong thing. Compilers that copy the
# accumulators of a tile cost 60 % of the speed without any test of results noticing.
command -v objdump >/dev/null || { echo "objdump is missing: nothing checked"; exit 77; }
objdump -d --no-show-raw-insn "$2" | awk -v least="$1" '
function hex(s,   i, v) {
    v = 0
    for (i = 1; i <= length(s); i++) v = v * 16 + index("0123456789abcdef", substr(s, i, 1)) - 1
    return v
}
function dots(i) { return sum[to[i]] - sum[from[i] - 1] }
function finish(   i, j, k, inner) {
    for (i = 1; i <= jumps; i++) if (from[i] in index_of) from[i] = index_of[from[i]]; else from[i] = to[i]
    for (i = 1; i <= jumps; i++) { # a backward jump closes a loop
        if (!dots(i)) continue
        inner = 1
        for (j = 1; j <= jumps; j++) {
            if (from[j] < from[i] || to[j] > to[i] || (from[j] == from[i] && to[j] == to[i])) continue
            if (dots(j)) inner = 0
        }
        if (!inner) continue
        loops++
        for (k = from[i]; k <= to[i]; k++) if (k in stack) { print name ": " stack[k]; bad++ }
    }
    n = jumps = 0
    split("", stack)
    split("", index_of)
}
/^[0-9a-f]+ <.*>:$/ { finish(); name = $2; next }
/^ *[0-9a-f]+:/ {
    n++
    index_of[hex(substr($1, 1, length($1) - 1))] = n
    sum[n] = sum[n - 1] + ($2 == "vpdpbusd" || $3 == "vpdpbusd")
    if ($0 ~ /vmov[a-z0-9]+ +%[yz]mm[0-9]+,-?(0x[0-9a-f]+)?\(%r[sb]p/) stack[n] = $0
    if ($2 ~ /^j/ && (t = hex($3)) in index_of) { jumps++; from[jumps] = t; to[jumps] = n }
}
END {
    finish()
    printf "%d loops, %d vector stores to the stack\n", loops, bad
    exit bad > 0 || loops < least
}'
