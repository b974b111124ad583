/* The ceiling: the least that a server can do to send one stream to many viewers.

   One thread, epoll; the frame is made once a chunk and one send() per viewer hands it to the kernel. No stream is
   parsed, none is fetched. It answers the handshake of every connection with the same fixed key.

   ceiling RATE ACCEPT PHASE_US FRAME_BYTES...     (compiled WITH_TLS it takes CERTIFICATE KEY first)
     RATE         ticks a second
     ACCEPT       what Sec-WebSocket-Accept says
     PHASE_US     when in the tick it sends, so that two servers on one core take turns
     FRAME_BYTES  payload of each frame of a tick; they leave in one write
   It prints its port and runs until standard input ends. Each payload carries the moment it was made, microseconds
   since 1970, at offset 32, where a plain fMP4 message of the bench has its own. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#ifdef WITH_TLS
#include <openssl/ssl.h>
#endif
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { VIEWERS_MAX = 65536, REQUEST_MAX = 2048, STAMP_AT = 32 };

struct viewer {
  char *request; /* until the handshake is answered */
  char *rest;    /* what the kernel did not take, sent before anything else */
  size_t requested, rest_bytes, rest_at;
  int is_open;
#ifdef WITH_TLS
  SSL *tls;
#endif
};

static struct viewer *viewers[VIEWERS_MAX];
static int live[VIEWERS_MAX], live_count, poll_fd;
static char *batch;
static size_t batch_bytes, stamps[16], stamp_count;
static const char *accept_value;

static void die(const char *what) {
  perror(what);
  exit(1);
}

#ifdef WITH_TLS
static SSL_CTX *tls_context;

/* Say what OpenSSL returned in the words of send and recv. */
static ssize_t in_errno(int fd, int done) {
  if (done > 0) return done;
  int error = SSL_get_error(viewers[fd]->tls, done);
  errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EPIPE;
  return -1;
}

static ssize_t give(int fd, const char *data, size_t size) { return in_errno(fd, SSL_write(viewers[fd]->tls, data, (int)size)); }

static ssize_t get(int fd, char *data, size_t size) { return in_errno(fd, SSL_read(viewers[fd]->tls, data, (int)size)); }
#else
static ssize_t give(int fd, const char *data, size_t size) { return send(fd, data, size, MSG_NOSIGNAL); }

static ssize_t get(int fd, char *data, size_t size) { return recv(fd, data, size, 0); }
#endif

static void leave(int fd) {
  struct viewer *viewer = viewers[fd];
  for (int i = 0; i < live_count; i++)
    if (live[i] == fd) live[i--] = live[--live_count];
#ifdef WITH_TLS
  SSL_free(viewer->tls);
#endif
  free(viewer->request);
  free(viewer->rest);
  free(viewer);
  viewers[fd] = NULL;
  close(fd);
}

static void watch(int fd, uint32_t events, int operation) {
  struct epoll_event event = {.events = events, .data.fd = fd};
  if (epoll_ctl(poll_fd, operation, fd, &event) < 0) die("epoll_ctl");
}

static void come(int listener) {
  int fd;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
    int on = 1;
    if (fd >= VIEWERS_MAX) { close(fd); continue; }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    viewers[fd] = calloc(1, sizeof(struct viewer));
    viewers[fd]->request = calloc(1, REQUEST_MAX);
#ifdef WITH_TLS
    viewers[fd]->tls = SSL_new(tls_context);
    SSL_set_fd(viewers[fd]->tls, fd);
    SSL_set_accept_state(viewers[fd]->tls);
#endif
    watch(fd, EPOLLIN, EPOLL_CTL_ADD);
  }
}

static void hear(int fd) {
  struct viewer *viewer = viewers[fd];
  char waste[4096];
  ssize_t got;
  if (viewer->is_open) {
    got = get(fd, waste, sizeof waste);
    if (got == 0 || (got < 0 && errno != EAGAIN)) leave(fd);
    return;
  }
  got = get(fd, viewer->request + viewer->requested, REQUEST_MAX - 1 - viewer->requested);
  if (got <= 0) {
    if (got == 0 || errno != EAGAIN) leave(fd);
    return;
  }
  viewer->requested += (size_t)got;
  if (strstr(viewer->request, "\r\n\r\n") == NULL) {
    if (viewer->requested >= REQUEST_MAX - 1) leave(fd);
    return;
  }
  int size = snprintf(waste, sizeof waste,
                      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      "Sec-WebSocket-Accept: %s\r\n\r\n",
                      accept_value);
  if (give(fd, waste, (size_t)size) != size) { leave(fd); return; }
  viewer->is_open = 1;
  free(viewer->request);
  viewer->request = NULL;
  live[live_count++] = fd;
}

static void send_rest(int fd) {
  struct viewer *viewer = viewers[fd];
  ssize_t sent = give(fd, viewer->rest + viewer->rest_at, viewer->rest_bytes - viewer->rest_at);
  if (sent < 0) {
    if (errno != EAGAIN) leave(fd);
    return;
  }
  viewer->rest_at += (size_t)sent;
  if (viewer->rest_at < viewer->rest_bytes) return;
  free(viewer->rest);
  viewer->rest = NULL;
  watch(fd, EPOLLIN, EPOLL_CTL_MOD);
}

static void keep(int fd, size_t from) {
  struct viewer *viewer = viewers[fd];
  viewer->rest_bytes = batch_bytes - from;
  viewer->rest_at = 0;
  viewer->rest = malloc(viewer->rest_bytes);
  memcpy(viewer->rest, batch + from, viewer->rest_bytes);
  watch(fd, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
}

static void fan_out(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  uint64_t us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
  for (size_t i = 0; i < stamp_count; i++)
    for (int byte = 0; byte < 8; byte++) batch[stamps[i] + (size_t)byte] = (char)(us >> (56 - 8 * byte));
  for (int i = 0; i < live_count; i++) {
    int fd = live[i];
    if (viewers[fd]->rest) continue; /* too slow for this one: it is left out */
    ssize_t sent = give(fd, batch, batch_bytes);
    if (sent == (ssize_t)batch_bytes) continue;
    if (sent >= 0) keep(fd, (size_t)sent);
    else if (errno != EAGAIN) { leave(fd); i--; }
#ifdef WITH_TLS
    else keep(fd, 0); /* OpenSSL may have begun: it wants the same bytes again */
#endif
  }
}

static void make_batch(int count, char **sizes) {
  for (int i = 0; i < count; i++) batch_bytes += strtoul(sizes[i], NULL, 10) + (strtoul(sizes[i], NULL, 10) < 65536 ? 4 : 10);
  batch = malloc(batch_bytes);
  for (size_t i = 0; i < batch_bytes; i++) batch[i] = (char)rand(); /* real memory, not the one page of zeros */
  size_t at = 0;
  for (int i = 0; i < count; i++) {
    size_t size = strtoul(sizes[i], NULL, 10);
    batch[at++] = (char)0x82;
    int wide = size >= 65536 ? 8 : 2;
    batch[at++] = (char)(wide == 8 ? 127 : 126);
    for (int byte = wide - 1; byte >= 0; byte--) batch[at++] = (char)(size >> (8 * byte));
    stamps[stamp_count++] = at + STAMP_AT;
    at += size;
  }
}

int main(int count, char **words) {
#ifdef WITH_TLS
  if (count < 3) return 2;
  tls_context = SSL_CTX_new(TLS_server_method());
  SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (SSL_CTX_use_certificate_chain_file(tls_context, words[1]) != 1) return 3;
  if (SSL_CTX_use_PrivateKey_file(tls_context, words[2], SSL_FILETYPE_PEM) != 1) return 3;
  count -= 2;
  words += 2;
#endif
  if (count < 5 || count > 20) return 2;
  accept_value = words[2];
  make_batch(count - 4, words + 4);
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);

  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 4096) < 0) die("listen");
  getsockname(listener, (struct sockaddr *)&address, &size);

  long interval = (long)(1e9 / atof(words[1]));
  int timer = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK);
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  struct itimerspec ticks = {.it_interval = {.tv_sec = interval / 1000000000, .tv_nsec = interval % 1000000000}};
  long phase = atol(words[3]) * 1000;
  ticks.it_value.tv_sec = now.tv_sec + 1 + phase / 1000000000;
  ticks.it_value.tv_nsec = phase % 1000000000;
  timerfd_settime(timer, TFD_TIMER_ABSTIME, &ticks, NULL);

  poll_fd = epoll_create1(0);
  watch(0, EPOLLIN, EPOLL_CTL_ADD);
  watch(listener, EPOLLIN, EPOLL_CTL_ADD);
  watch(timer, EPOLLIN, EPOLL_CTL_ADD);
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);

  struct epoll_event events[256];
  for (;;) {
    int ready = epoll_wait(poll_fd, events, 256, -1);
    if (ready < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd;
      uint64_t expired;
      char word[64];
      if (fd == 0) {
        if (read(0, word, sizeof word) <= 0) return 0;
      } else if (fd == listener) come(listener);
      else if (fd == timer) {
        if (read(timer, &expired, sizeof expired) == sizeof expired) fan_out();
      } else if (viewers[fd]) {
        if (events[i].events & EPOLLOUT && viewers[fd]->rest) send_rest(fd);
        if (viewers[fd] && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) hear(fd);
      }
    }
  }
}
