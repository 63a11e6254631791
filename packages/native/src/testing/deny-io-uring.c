/* deny-io-uring ERRNO CALLS COMMAND...: runs a command under a seccomp filter that fails io_uring calls: CALLS is `all` three, as container
 * engines' default profiles do, or `enter` or `register` alone, as a profile written by hand may. Built by the tests with gcc. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const int all = strcmp(argv[2], "all") == 0;
  const unsigned setup = all ? __NR_io_uring_setup : ~0u;
  const unsigned enter = all || strcmp(argv[2], "enter") == 0 ? __NR_io_uring_enter : ~0u;
  const unsigned reg = all || strcmp(argv[2], "register") == 0 ? __NR_io_uring_register : ~0u;
  const unsigned answer = SECCOMP_RET_ERRNO | ((unsigned)atoi(argv[1]) & SECCOMP_RET_DATA);
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, setup, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, enter, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, reg, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, answer),
  };
  struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    perror("seccomp");
    return 2;
  }
  execvp(argv[3], argv + 3);
  perror(argv[3]);
  return 2;
}
