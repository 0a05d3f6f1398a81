/* The chat room's own. */
#pragma once
#include "chat.h"
#include "face.h"

struct chat_templates {
    struct face_templates *named; /* NULL: only the model file's own */
    struct face_templates *own;   /* NULL: the file has none */
    const char *const *controls;  /* the vocabulary's; borrowed from the engine */
};

/* ---- template.c ---- */
must_check struct error *template_render(const struct chat_templates *templates,
                                         const struct chat_request *request, struct face_prompt *ret_prompt);
