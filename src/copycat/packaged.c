/* packaged: the model that an image brings along for machines that reach no hub.
 *
 * COPYCAT_PACKAGED_MODEL names its directory. Where `download` reaches no hub, it stands in under the name
 * that was asked for, and a note where that model's files would be lets every later `serve` take it at once,
 * without waiting for the hub again. A download that succeeds takes the note away; what the hub says (no such
 * model, say) stays an error. It is told wherever models are told: output, log, /v1/health. */
#include "inside.h"

#include <stdio.h>
#include <stdlib.h>

static const char *packaged_directory(void) {
    const char *directory = getenv("COPYCAT_PACKAGED_MODEL");
    return directory && *directory && file_exists(directory) ? directory : NULL;
}

/* Ids that are no names of models have no place of their own; none of them was ever fetched. */
static char *place_of(const struct places *places, const char *id) {
    if (strstr(id, "..") || id[0] == '/') return NULL;
    scoped_string char *full = strchr(id, '/') ? mem_string(id) : mem_printf("%s/%s", MODEL_REGISTRY, id);
    return path_join(places->models, full);
}

static char *note_of(const struct places *places, const char *id) {
    scoped_string char *place = place_of(places, id);
    return place ? path_join(place, "packaged") : NULL;
}

bool packaged_is_noted(const struct places *places, const char *id, char **ret_directory) {
    scoped_string char *note = note_of(places, id), *place = place_of(places, id);
    scoped(model) struct model *fetched = NULL;
    if (!packaged_directory() || !note || !file_exists(note)) return false;
    scoped(error) struct error *error = model_open(place, id, &fetched); /* somebody brought it by hand */
    if (!error) return false;
    log_warn("copycat",
             "no hub could be reached for '%s' when it was to be fetched: the packaged %s is served under "
             "its name (`tabby download` asks again)",
             id, packaged_directory());
    *ret_directory = mem_string(packaged_directory());
    return true;
}

bool packaged_stands_in(struct error *error, const char *id, char **ret_directory) {
    if (error->code != ERROR_UNAVAILABLE || !packaged_directory()) return false;
    scoped_string char *text = error_text(error);
    printf("model '%s' could not be fetched (%s); the packaged one, %s, is served under its name\n", id, text,
           packaged_directory());
    fflush(stdout);
    *ret_directory = mem_string(packaged_directory());
    return true;
}

struct error *packaged_note(const struct places *places, const char *id, bool stands_in) {
    scoped_string char *place = place_of(places, id), *note = note_of(places, id);
    if (!note) return NULL;
    if (!stands_in) {
        (void)unlink(note);
        return NULL;
    }
    TRY_PLAIN(dir_make(place, 0755));
    return file_replace(note, SPAN("no hub could be reached: COPYCAT_PACKAGED_MODEL is served instead\n"),
                        0644);
}
