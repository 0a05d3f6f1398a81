/* rest: when calls leave memory, and when the store. */
#pragma once
#include "inside.h"

void rest_open(struct modal *modal);
void rest_close(struct modal *modal);
void rest_due(struct modal *modal);        /* there is a call that will want to rest */
void call_unwanted(struct call *call);     /* its client has what it wants: it goes when all is done */
void call_wanted_again(struct call *call); /* more inputs come */
void rested_sweep(struct modal *modal);    /* those that are too old go */
