// Makes very many files, or very deep directories. Ends with 0, or with the number of the act that failed.
//
//   floods files DIR COUNT     COUNT empty files in DIR
//   floods wide DIR COUNT      COUNT directories in DIR
//   floods deep DIR COUNT      COUNT directories in each other below DIR, and a file at the bottom
//   floods bottom DIR COUNT    looks for that file
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int count, char **arguments) {
    if (count != 4 || chdir(arguments[2]) != 0) return 2;
    const char *act = arguments[1];
    int number = atoi(arguments[3]);
    for (int made = 0; made < number; made++) {
        char name[16];
        snprintf(name, sizeof name, "%d", made);
        if (strcmp(act, "files") == 0) {
            int file = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);
            if (file < 0 || close(file) != 0) return 3;
        } else if (strcmp(act, "wide") == 0) {
            if (mkdir(name, 0755) != 0) return 6;
        } else {
            if (strcmp(act, "deep") == 0 && mkdir("d", 0755) != 0) return 4;
            if (chdir("d") != 0) return 1;
        }
    }
    if (strcmp(act, "deep") == 0) return open("bottom", O_WRONLY | O_CREAT | O_EXCL, 0644) < 0 ? 5 : 0;
    return strcmp(act, "bottom") == 0 && access("bottom", F_OK) != 0 ? 1 : 0;
}
