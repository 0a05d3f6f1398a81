/* The migrations by which Tabby knows its databases: number, name and the checksum of its own file of each.
 *
 * They are noted in a database that we make, so that Tabby opens it too, and told apart in one that we find:
 * a number beyond the last is a newer Tabby's. From MIGRATION_FIRST_KEPT on, what each changes is here as
 * well; each of them is one transaction. None of these rows may ever be changed. */
#include "inside.h"

/* clang-format off */
#define NEW_TABLE(NAME) "CREATE TABLE " NAME " (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, "
#define TIMES "created_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')), " \
              "updated_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now'))"
#define LDAP NEW_TABLE("ldap_credential") \
    "host STRING NOT NULL, port INTEGER NOT NULL DEFAULT 389, bind_dn STRING NOT NULL," \
    " bind_password STRING NOT NULL, base_dn STRING NOT NULL, user_filter STRING NOT NULL," \
    " encryption STRING NOT NULL DEFAULT 'none', skip_tls_verify BOOLEAN NOT NULL DEFAULT FALSE," \
    " email_attribute STRING NOT NULL DEFAULT 'email', name_attribute STRING, " TIMES ");"
#define PAGES NEW_TABLE("pages") \
    "author_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE, title TEXT, content TEXT, " TIMES \
    ");" \
    NEW_TABLE("page_sections") "page_id INTEGER NOT NULL REFERENCES pages (id) ON DELETE CASCADE," \
    " title TEXT NOT NULL, content TEXT, position INTEGER NOT NULL, " TIMES ", UNIQUE (page_id, position));"
#define INGESTION NEW_TABLE("ingested_documents") \
    "source TEXT NOT NULL, doc_id TEXT NOT NULL, link TEXT, title TEXT NOT NULL, body TEXT NOT NULL," \
    " status TEXT NOT NULL CHECK (status IN ('pending', 'indexed', 'failed')), expired_at INTEGER NOT NULL," \
    " created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP," \
    " updated_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, UNIQUE (source, doc_id));"

const struct migration migrations[MIGRATIONS] = {
    {1, "registration-token-table",
     "/PFUsLl22dbVD1ERvnQ0DFccLY0rCMwcQJ/NuidPhBs5IECd1iFO6bR1lcWpM78w",
     NULL},
    {2, "users-table",
     "6/sQEfX0bXq/yWa8s6Qi2azpyYO9T2Kq487bAxLKUlmf1FUUfndnmigj3fyHKVYr",
     NULL},
    {3, "invitations-table",
     "CEpnjKteA6aJ4dDbv/ABMPE5j0Lq1G1z1ghm+kWkk0cQExZ+JPScXtC4FfVKh1vp",
     NULL},
    {4, "refresh-tokens",
     "btcGMfzb7OYraxXym4iUb5FvCnNh+Tm9PkUNISny8UyDgdKiZG/B9g8KR+RUjRzg",
     NULL},
    {5, "job-runs-table",
     "XBihBoF4LkHkVH/SS4JwLQ9j4ap03hFJA6kDIa46AAl2NxIMzGjkkPTPwvQSrTKS",
     NULL},
    {6, "github-oauth-credential",
     "99AbqKthI64f8VG0BnpcoxV6j+aY1DHH7VsANzRj7f5j0YA+gR0yGyfxw2l7SYpP",
     NULL},
    {7, "email-setting",
     "G7vkNKb2nb6jF0Ti/duE1qIIj+74dS8nWKyPeqMssRsGqIu+Hk36wOdUwMGn7nEo",
     NULL},
    {8, "repositories-table",
     "m4MvAR0Oos8wjtXpppbrxEUi/9LvXvXJPq3JKqq1DouQXqv+w/f+VMoMZwn8If5a",
     NULL},
    {9, "google-oauth-credential",
     "PfUos9PpCjVoEFGy4KrDy3f2TyTEhLhYMzGNO6bVx3mN+H33+v+QW33ETI1K+YDq",
     NULL},
    {10, "server-setting",
     "wGCGFH7T5EA+lDIxWMmQtfG2LINpccBPoyIDeT9pmXyKju26xkRUegAe0jtB/yDh",
     NULL},
    {11, "new-email-settings",
     "/Clx0Ik6UeTN1Bqzwj+kL1LY22ZCfw/B+tSdp3/bCRTn6PDZjElX9PMZhXT2szDP",
     NULL},
    {12, "remove-redirect-uri-field-oauth",
     "PYvh10p14YWowURa1PPqN3ZrplRu+gWFpMn9C28LlvuZ/8dSE9a7BarCT3QjTWkr",
     NULL},
    {13, "add-smtp-port",
     "fhnrqHUwswQPCcYsIo6c6yiWrzFN2phsLW0UQM/ogSglgKupdMbFyZmS6m6NkhQi",
     NULL},
    {14, "password-reset",
     "F1J436GY5JCnZd3c5XprNMeg83x5An2Oe4ZwVrJWOxZ35GfWW3epalVn7AoabqSX",
     NULL},
    {15, "enterprise-license",
     "i8vDbrcSMQeV9PTTvuBcIRc5mGw1QVZti6L4he6KC8f8xGs5PFDdQ9N+t9iu+nxt",
     NULL},
    {16, "merge-oauth-tables",
     "fvO8AhZYLe8NIF7dixBKbQgheaJMaa3jKWE9BopENDfk/+2e+jqGYtSCoO2M4aQz",
     NULL},
    {17, "add-user-completions",
     "/JUaK+NWGrpYj9b09QhOEv597x7n1xBNXM+om3axBu4BUrSIuMzJit/KSeLpqoN5",
     NULL},
    {18, "user-password-nullable",
     "F8viKdrhO837POUKiiJe6wmDTHTTJm2ow7LTTkJnVk6RPWUmoTCLCUFLZ79D3oVd",
     NULL},
    {19, "user-avatar",
     "P8WdomTZHaJsUBblMdV9Wye4jHAYNPi7KS+CshRsPQ5Yruq+9OFwbb6IcAKe3Qfv",
     NULL},
    {20, "job-run-index",
     "GSKRHQOPfvdICH9TeDBX0kJ41lcvl14WDk4gjLv6CUGqgh2k5Vvrpi4WT0mVL3PN",
     NULL},
    {21, "repository-name-index",
     "inn4jiwSQ6KLJGmKpD83ylxN4n6Wr6UFo7flzIAiMqu0Gqhrbc0JyvPZa31QjqWi",
     NULL},
    {22, "github-provider",
     "pwUjZw+U0dt+WBOONbNhu+qSsg+80rEbx28SeZbu92hpolUw4yl+1RnMH+xM6dRo",
     NULL},
    {23, "user-completions-created-at-index",
     "TbIVF2jngYAp9UdpuYYMkGq68vYdf+3iQ29LfrVLHOdFz9K22Rfa2OQ13YK1Zp7Z",
     NULL},
    {24, "github-provided-repos",
     "tKVAt3ULr9Y4JmJpQCvqEKXfIJ5DmlBDPuZYCGinW6uS45PoB+eHFvTz3gRdcF1H",
     NULL},
    {25, "user-events",
     "TTOc4m7MVEFv9OHPeu5r4x2sJwdTbd6hkQaahFS2wROQ1dvudmK0YFE3JA5Ef5p3",
     NULL},
    {26, "clean-up-tables",
     "SujWWHOtrYpDZOe3f6B16yhisBRUw8Bhp3EACGk0UjDDc3cLXB33DkCCH4trMF/I",
     NULL},
    {27, "remove-github-repository-columns-on-oauth",
     "J2YJOmrCmt2hDzmgHwJBBTsfYIlHQFmr/w4yRN32YsMqlJfYF5NB1q5BWNa4mBKy",
     NULL},
    {28, "gitlab-provider",
     "Qv6rtyvhA4aTE/7WZaBdeWIoLXmCctsZTxaZiIAvSVauMzRhOAYszo1F6Whlh9fQ",
     NULL},
    {29, "merged-provider-tables",
     "GG0PYGx6K2LQApJHM+lePTQKnrmep7+bxYBwBnhBQwMMkUPcd736suWqlyjPaKYu",
     NULL},
    {30, "user-name",
     "F6jKimK+wgixFoiBxppd/ItSEUXSSjrPmw07Sd8YX+tsDMteGGGMB2r3K5rzoKR8",
     NULL},
    {31, "web-crawler-urls",
     "X/mbQ79fnrIA5V0OxVyomUBLQrCb8z1A1JDblwtXWAvR8zgI2fQI8gejiiJoQJTq",
     NULL},
    {33, "add-job-runs-param-column",
     "HfVWAxBtsO4mkwFzFfkVb0+3zFQsPs5Zas+aB++iy4dq8Rz8jrz2Zs1RZDqAit4R",
     NULL},
    {34, "add-started-at-column-in-job-runs",
     "dcepAbijP70Ek418Rzt0WMNQcgDRoGPBGVTof0twZNTTzEwtqnSaC+/rBRfhqpV3",
     NULL},
    {35, "add-thread-message-table",
     "04njQG5WDHZAiuv6mEhpUcrLCuVlyt4R3LaTUGx6mTDoA9Xo3ZxUXKQuu6bqF0mu",
     NULL},
    {36, "web document",
     "NtCpUfBmiyih0R0R2VZnKq941X1yzTM62LgMReDkpCXukCQzfmDJExtHvTU1P2Zs",
     NULL},
    {37, "remove-webcrawler-table",
     "U+6M4KvSAZTXsk8aidHi5DVl+w20n3TzWaJIkmcvZdiuIWT25zyp3HlA9y8B7nvU",
     NULL},
    {38, "add-access-control-tables",
     "9VTDRGWGfPnSf0+ZJyugYg+QM2NhqDNiOyM8KakN4q5ALM9BkUdLjSW7Z8QnvGGK",
     NULL},
    {39, "add-notification-inbox",
     "kIWdRpeq7YcPEwvKGWuf8O4EP7Cum1EXOAyM+GAacG8s4vbHT1IDpiH70sPUj1Lx",
     NULL},
    {40, "add-code-source-id-column",
     "2/2uvrgKTSJMFLeno5J9udeDSkqitHa3Kbuc5wkeOHobrtiBIsVMB743nF+du3+K",
     NULL},
    {41, "ldap-credential",
     "AK7tCWadXFWqQ0j+IaEaE8E54FQ+5qDcMnvGte9M0a9AY8HsEquvpzzoliufqB/h",
     LDAP},
    {42, "add-file-list-attachment",
     "VeJ/S8hpvvmkuS4MCUuopvC2Gyi+RtlDky7c14Ea+DFKFiTyShOKKebLjEFXWqEO",
     "ALTER TABLE thread_messages ADD COLUMN attachment BLOB NOT NULL DEFAULT '{}';"
     "UPDATE thread_messages SET attachment = json_set(attachment, '$.code', json(code_attachments))"
     " WHERE code_attachments IS NOT NULL;"
     "UPDATE thread_messages SET attachment ="
     " json_set(attachment, '$.client_code', json(client_code_attachments))"
     " WHERE client_code_attachments IS NOT NULL;"
     "UPDATE thread_messages SET attachment = json_set(attachment, '$.doc', json(doc_attachments))"
     " WHERE doc_attachments IS NOT NULL;"},
    {43, "page-section",
     "CZOho66KuZtYDgL7SM3wqkvfpPpF8ldvILSgQ5KVKe/74OQpzS9ukdjKXh8j+R7t",
     PAGES},
    {44, "add-page-sources",
     "lyp+51HX1JMUq4M7dGtU3ijeVuTQ0AA1FexKFKL9rq0QamLQNkwWQL49Xcdzswtv",
     "ALTER TABLE pages ADD COLUMN code_source_id VARCHAR(255);"
     "ALTER TABLE page_sections ADD COLUMN attachment BLOB NOT NULL DEFAULT '{}';"},
    {45, "remove-deprecated-columns",
     "Z3z2xgd+9muzakddAJ8wsQMLa7MkQt8gBtla8HVBHOdqBqYNC3qSXAhLqXBKgh6j",
     "ALTER TABLE thread_messages DROP COLUMN code_attachments;"
     "ALTER TABLE thread_messages DROP COLUMN client_code_attachments;"
     "ALTER TABLE thread_messages DROP COLUMN doc_attachments;"},
    {46, "add-disable-password-login",
     "rTcrqNaPhE5eRh0NSG14GJl7wk+IJZP8Vw5quRZf77LhCJ93fwhuaWPmqCysqKJ4",
     "ALTER TABLE server_setting ADD COLUMN security_disable_password_login BOOLEAN NOT NULL DEFAULT FALSE;"},
    {47, "add-ingestion",
     "NWh1r9vKy6CeK+JwSxZjkMrYn1wVyc7BUS6k53FNUyUgbP1WiXhMqJi5kbYn5993",
     INGESTION},
    {48, "add-branding-column",
     "9vvpYYH2F5MR9Ge6HaFVreu3Qbz9iRy26GAoLVQe8j2UV36gCWDgtGoHnrvQ3je2",
     "ALTER TABLE server_setting ADD COLUMN branding_logo TEXT DEFAULT NULL;"
     "ALTER TABLE server_setting ADD COLUMN branding_icon TEXT DEFAULT NULL;"},
    {49, "add-oauth-columns",
     "SFPyp/hwnbY8FDdH4sjvUUr5EHijJxdv3z8mSKv2GzM1G27Jo/zwuodbU5rk9f1u",
     "ALTER TABLE oauth_credential ADD COLUMN config_url VARCHAR(256);"
     "ALTER TABLE oauth_credential ADD COLUMN config_scopes VARCHAR(256);"},
    {50, "add-repository-refs",
     "wXeMUtfqIrj2jxB0iWBf5xwLg0GDWITouoliVsUwM3I1Q9qNeheyNCG6XkHyB8SG",
     "ALTER TABLE repositories ADD COLUMN refs TEXT;"
     "ALTER TABLE provided_repositories ADD COLUMN refs TEXT;"},
};
/* clang-format on */
