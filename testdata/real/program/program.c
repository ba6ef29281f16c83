#include <stdio.h>

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        printf("Hello, %s, from version %s\n", argv[i], VERSION);
    return argc > 1 ? 0 : 1;
}
