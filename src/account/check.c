/* What users may call themselves and what their passwords must have: Tabby's rules, with its words for them.
 */
#include "inside.h"

#include <ctype.h>
#include <stdio.h>

#define EMAIL_MAX 128 /* characters */

static void complain(json_t *complaints, const char *path, const char *message) {
    json_array_append_new(complaints, json_pack("{s:s,s:s}", "path", path, "message", message));
}

/* Code points: bytes that don't continue one. Texts from JSON are valid UTF-8. */
static size_t characters(const char *text) {
    size_t count = 0;
    for (; *text; text++) count += (*text & 0xc0) != 0x80;
    return count;
}

static bool is_label(struct span label) {
    if (label.size == 0 || label.size > 63 || label.data[0] == '-' || label.data[label.size - 1] == '-')
        return false;
    for (size_t i = 0; i < label.size; i++) {
        unsigned char c = (unsigned char)label.data[i];
        if (!isalnum(c) && c != '-' && c < 0x80) return false;
    }
    return true;
}

/* As browsers check it: HTML, "valid e-mail address", and domains beyond ASCII. */
static bool is_email(const char *email) {
    const char *at = strrchr(email, '@');
    if (!at || at == email || at - email > 64 || strlen(at + 1) > 255) return false;
    for (const char *c = email; c < at; c++) {
        unsigned char letter = (unsigned char)*c;
        if (!isalnum(letter) && !strchr(".!#$%&'*+/=?^_`{|}~-", letter) && letter < 0x80) return false;
    }
    struct span rest = span_of(at + 1);
    if (rest.size == 0) return false;
    while (rest.data)
        if (!is_label(span_cut(&rest, '.'))) return false;
    return true;
}

void account_check_email(const char *email, const char *path, json_t *complaints) {
    if (!is_email(email)) complain(complaints, path, "Email is invalid");
    if (characters(email) > EMAIL_MAX) complain(complaints, path, "Email must be at most 128 characters");
}

void account_check_name(const char *name, const char *path, json_t *complaints) {
    size_t count = characters(name);
    if (count < 2 || count > 20) complain(complaints, path, "Name must be between 2 and 20 characters");
    static const char *const beyond_ascii[] = {"±", "£", "§", "¡", "€", "¢", "¶", "•", "ª", "º", "«"};
    bool refused = strpbrk(name, "0123456789!@$%^&*_+#\\/<>?:;|=.,") != NULL;
    for (size_t i = 0; i < COUNT(beyond_ascii); i++) refused |= strstr(name, beyond_ascii[i]) != NULL;
    if (refused)
        complain(complaints, path,
                 "Invalid name, name may contain numbers or special characters which are not supported");
}

static const char *lacks(const char *password) {
    bool lower = false, upper = false, digit = false, special = false;
    for (const char *c = password; *c; c++) {
        unsigned char letter = (unsigned char)*c;
        if (letter >= 0x80) continue;
        lower |= islower(letter) != 0;
        upper |= isupper(letter) != 0;
        digit |= isdigit(letter) != 0;
        special |= ispunct(letter) != 0;
    }
    if (!lower) return "Password should contain at least one lowercase character";
    if (!upper) return "Password should contain at least one uppercase character";
    if (!digit) return "Password should contain at least one numeric character";
    if (!special) return "Password should contain at least one special character, e.g @#$%^&{}";
    return NULL;
}

void account_check_passwords(const char *password1, const char *password2, const char *path,
                             json_t *complaints) {
    size_t count = characters(password1);
    if (count < 8 || count > 20) complain(complaints, path, "Password must be between 8 and 20 characters");
    const char *missing = lacks(password1);
    if (missing) complain(complaints, path, missing);
    if (!password2 || strcmp(password1, password2) == 0) return;
    scoped_string char *second = mem_string(path);
    second[strlen(second) - 1] = '2';
    complain(complaints, second, "Passwords do not match");
}
