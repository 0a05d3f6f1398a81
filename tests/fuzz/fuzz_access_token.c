/* What strangers send to be let in, or to name things by: access tokens, ids, times, addresses. Nothing gets
 * in, and an id has one spelling. */
#include "account.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct account *account;
    static struct io_loop *loop;
    struct span text = {(const char *)data, size};
    if (!account) {
        struct account_options options = {.loop = loop = io_loop_new(),
                                          .root = "/tmp",
                                          .without_database = true,
                                          .secret = "7f2a9c1e-8f55-4b8e-9d0a-1b2c3d4e5f60"};
        struct error *error = account_open(&options, &account);
        if (error) abort();
    }
    struct error *refused = account_verify(account, text);
    if (!refused) __builtin_trap(); /* nobody but us knows the secret */
    error_free(refused);
    int64_t row;
    char id[ACCOUNT_ID_SIZE], time[ACCOUNT_TIME_SIZE];
    if (account_row(text, &row)) {
        account_id(row, id);
        if (!span_is(text, id)) __builtin_trap();
    }
    if (account_time_read(text, time) && strlen(time) != 19) __builtin_trap();
    char *string = span_string(text);
    json_t *complaints = json_array();
    account_check_email(string, "a", complaints);
    account_check_name(string, "b", complaints);
    account_check_passwords(string, string, "c1", complaints);
    json_decref(complaints);
    free(string);
    return 0;
}
