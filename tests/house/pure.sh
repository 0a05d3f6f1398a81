#!/usr/bin/env bash
# pure: what a room's library calls, and what it keeps between calls.
#
# nap decides and does nothing else: no clock, no I/O, no chance. Its library may call what computes and what
# takes memory, nothing else; a name beyond the list fails here. And no room keeps changeable state in
# globals: all of it is in structs that somebody owns. Looks at the libraries of the plain build (or of the
# folder named).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=${1:-build}
bad=0

allowed='
memcpy memmove memset memcmp memchr memmem strlen strnlen strcmp strncmp strchr strrchr strstr strspn strcspn
strdup strndup strtol strtoul strtoll strtoull strtod __ctype_b_loc
malloc calloc realloc free reallocarray qsort bsearch abort snprintf vsnprintf
__assert_fail __stack_chk_fail _GLOBAL_OFFSET_TABLE_
__memcpy_chk __memset_chk __memmove_chk __snprintf_chk __vsnprintf_chk
'
# What base and core offer that computes: base's clock, files, log and chance are not among it.
prefixes='mem_ error_ span_ text_ list_ map_ table_ arena_ sha256_ core_ id_ scoped_'

pure_room() { # ROOM MORE-PREFIXES
    local library=$build/src/lib$1.a name known prefix
    [[ -f $library ]] || return 0
    while read -r name; do
        known=0
        [[ " ${allowed//$'\n'/ } " != *" $name "* ]] || known=1
        for prefix in $prefixes $2; do [[ $name != "$prefix"* ]] || known=1; done
        if ((known == 0)); then
            echo "$1 is not pure, it calls: $name"
            bad=1
        fi
    done < <(comm -23 <(nm --undefined-only "$library" | awk 'NF == 2 { print $2 }' | sort -u) \
        <(nm --defined-only "$library" | awk 'NF == 3 { print $3 }' | sort -u))
}

# Globals that change, each with its reason; everything else is a complaint.
state_allowed() {
    case $1 in
    store:store_calls) ;; # the table of system calls, so that a test can make the n-th one fail
    base:lowest_level) ;; # the log's level: set once by main, before any thread
    *) return 1 ;;
    esac
}

no_globals() {
    local library room name
    for library in "$build"/src/lib*.a; do
        [[ -f $library ]] || continue
        room=$(basename "$library" .a)
        room=${room#lib}
        while read -r name; do
            state_allowed "$room:${name%%.*}" && continue
            echo "$room keeps changeable state in a global: $name (put it into a struct that somebody owns)"
            bad=1
        done < <(objdump -t "$library" 2>/dev/null | awk 'NF > 2 && $NF !~ /^\./ &&
            $(NF - 2) ~ /^\.(data|bss)/ && $(NF - 2) !~ /^\.data\.rel\.ro/ { print $NF }')
    done
}

if [[ ! -d $build/src ]]; then
    echo "house pure: $build is not built (./dev build)"
    exit 1
fi
pure_room nap ''
pure_room cron ''
pure_room core json_ # values in memory
no_globals
((bad)) || echo "house pure: nap, cron and core are pure, no room has global state"
exit $bad
