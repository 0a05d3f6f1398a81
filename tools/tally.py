#!/usr/bin/env python3
"""Adds up a test report: prints "PASSED FAILED SKIPPED"; names what failed, and what was skipped and why.

    tally.py meson testlog.json      cmocka's own counts where a program prints them, else one a program
    tally.py junit report.xml        pytest's

No report is a failure: whoever should have written it died.
"""
import json
import re
import sys
import xml.etree.ElementTree

PASSED = re.compile(r"\[  PASSED  \] (\d+) test")
FAILED = re.compile(r"\[  FAILED  \] (\d+) test")
SKIPPED = re.compile(r"\[  SKIPPED \] (\S+)$", re.MULTILINE)


def tell(text):
    print(f"  {text}", file=sys.stderr)


def of_meson(path):
    passed = failed = skipped = 0
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            test = json.loads(line)
            output = (test.get("stdout") or "") + "\n" + (test.get("stderr") or "")
            good = sum(map(int, PASSED.findall(output)))
            bad = sum(map(int, FAILED.findall(output)))
            missed = set(SKIPPED.findall(output))
            if test["result"] in ("OK", "EXPECTEDFAIL"):
                passed += good or 1
            elif test["result"] == "SKIP":
                skipped += 1
                tell(f"skipped: {test['name']}")
            else:
                passed, failed = passed + good, failed + (bad or 1)
                tell(f"FAILED: {test['name']} ({test['result'].lower()})")
            skipped += len(missed)
            for name in sorted(missed):
                tell(f"skipped: {test['name']}: {name}")
    return passed, failed, skipped


def of_junit(path):
    passed = failed = skipped = 0
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('classname')}: {case.get('name')}"
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
            tell(f"FAILED: {name}")
        elif skip is not None:
            skipped += 1
            tell(f"skipped: {name}: {skip.get('message')}")
        else:
            passed += 1
    return passed, failed, skipped


def main():
    kind, path = sys.argv[1:]
    try:
        passed, failed, skipped = of_meson(path) if kind == "meson" else of_junit(path)
    except (OSError, ValueError, xml.etree.ElementTree.ParseError) as error:
        tell(f"FAILED: no report in {path}: {error}")
        passed, failed, skipped = 0, 1, 0
    if passed + failed == 0:
        tell(f"FAILED: {path} tells of no test")
        failed = 1
    print(passed, failed, skipped)


if __name__ == "__main__":
    main()
