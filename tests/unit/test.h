/* What every unit test includes: cmocka with the headers it needs, and two helpers. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"

/* Fails with the whole chain of the error. */
#define assert_ok(EXPR)                                                    \
    do {                                                                   \
        struct error *assert_ok_ = (EXPR);                                 \
        if (assert_ok_) fail_msg("%s: %s", #EXPR, error_text(assert_ok_)); \
    } while (0)
/* Expects an error whose text contains NEEDLE. */
#define assert_error(EXPR, CODE, NEEDLE)                                                         \
    do {                                                                                         \
        struct error *assert_error_ = (EXPR);                                                    \
        if (!assert_error_) fail_msg("%s: no error", #EXPR);                                     \
        char *assert_text_ = error_text(assert_error_);                                          \
        if (assert_error_->code != (CODE) || !strstr(assert_text_, NEEDLE))                      \
            fail_msg("%s: %s '%s' instead of '%s'", #EXPR, error_code_name(assert_error_->code), \
                     assert_text_, NEEDLE);                                                      \
        free(assert_text_);                                                                      \
        error_free(assert_error_);                                                               \
    } while (0)
