/* The certificates of the daemon's doors: which door has which, and when they are read again. */
#pragma once
#include "config.h"
#include "tls.h"

struct certificates;
must_check struct error *certificates_open(struct io_loop *loop, const struct config *config,
                                           struct certificates **ret_certificates);
void certificates_free(struct certificates *certificates); /* after the doors */
DEFINE_SCOPED(certificates)
struct tls *certificates_gateway(const struct certificates *certificates); /* NULL: in the clear */
struct tls *certificates_modal(const struct certificates *certificates);
/* By which a client is content with it; NULL: in the clear. Borrowed. */
const char *certificates_gateway_name(const struct certificates *certificates);
const char *certificates_modal_name(const struct certificates *certificates);
