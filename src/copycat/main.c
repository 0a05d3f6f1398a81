/* tabby: copycat's program. */
#include "copycat.h"

int main(int argc, char **argv) {
    return copycat_main(argc, argv);
}
