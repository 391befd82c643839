/* libsrtp2 at a test's service: protects or unprotects packets line by line.
 *
 *   libsrtp protect|unprotect rtp|rtcp SUITE KEY MKI
 *   libsrtp bench rtp SUITE KEY MKI
 *
 * SUITE is 0 to 5 in the order of `Suite::ALL`, KEY is master key and salt in hexadecimal, MKI likewise or `-`. Each line of standard input is a
 * packet in hexadecimal; each is answered by a line: the packet that came of it, or `error N`. `bench` reads all packets first and answers with
 * the nanoseconds of CPU time that it takes to unprotect one. */
#include <srtp2/srtp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int from_hex(const char *text, unsigned char *out) {
    int len = 0;
    unsigned byte;
    for (; sscanf(text, "%2x", &byte) == 1; text += 2) out[len++] = byte;
    return len;
}

static void choose(int suite, srtp_policy_t *policy) {
    srtp_crypto_policy_t *rtp = &policy->rtp, *rtcp = &policy->rtcp;
    switch (suite) {
    case 0: srtp_crypto_policy_set_rtp_default(rtp); srtp_crypto_policy_set_rtcp_default(rtcp); break;
    /* RFC 3711 section 5.2: SRTCP keeps its 80 bits. */
    case 1: srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32(rtp); srtp_crypto_policy_set_rtcp_default(rtcp); break;
    case 2: srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(rtp); srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(rtcp); break;
    case 3: srtp_crypto_policy_set_aes_cm_256_hmac_sha1_32(rtp); srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(rtcp); break;
    case 4: srtp_crypto_policy_set_aes_gcm_128_16_auth(rtp); srtp_crypto_policy_set_aes_gcm_128_16_auth(rtcp); break;
    case 5: srtp_crypto_policy_set_aes_gcm_256_16_auth(rtp); srtp_crypto_policy_set_aes_gcm_256_16_auth(rtcp); break;
    default: exit(2);
    }
}

/* Unprotects all packets of standard input, over and over, each time in a session of its own, which is made off the clock. */
static int bench(const srtp_policy_t *policy) {
    static char line[8192];
    static unsigned char packets[4096][1024], work[4096][1024];
    static int lens[4096];
    int count = 0;
    for (; count < 4096 && fgets(line, sizeof line, stdin); count++) lens[count] = from_hex(line, packets[count]);
    double ns = 0;
    for (int pass = 0; pass < 50; pass++) {
        srtp_t session;
        if (srtp_create(&session, policy) != srtp_err_status_ok) return 1;
        memcpy(work, packets, sizeof work);
        struct timespec from, to;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
        for (int at = 0; at < count; at++) {
            int len = lens[at];
            if (srtp_unprotect(session, work[at], &len) != srtp_err_status_ok) return 1;
        }
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
        ns += (to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec);
        srtp_dealloc(session);
    }
    printf("%.1f\n", ns / 50 / count);
    return 0;
}

int main(int argc, char **argv) {
    static char line[8192];
    unsigned char key[64] = {0}, mki[128], packet[4096];
    srtp_policy_t policy;
    srtp_master_key_t master = {key, mki, 0}, *masters[] = {&master};
    srtp_t session;
    if (argc != 6 || srtp_init() != srtp_err_status_ok) return 2;
    int protect = !strcmp(argv[1], "protect"), rtp = !strcmp(argv[2], "rtp"), use_mki = strcmp(argv[5], "-") != 0;
    memset(&policy, 0, sizeof policy);
    choose(atoi(argv[3]), &policy);
    from_hex(argv[4], key);
    policy.ssrc.type = protect ? ssrc_any_outbound : ssrc_any_inbound;
    policy.window_size = 128;
    if (use_mki) {
        master.mki_size = from_hex(argv[5], mki);
        policy.keys = masters;
        policy.num_master_keys = 1;
    } else {
        policy.key = key;
    }
    if (!strcmp(argv[1], "bench")) return bench(&policy);
    int status = srtp_create(&session, &policy);
    if (status != srtp_err_status_ok) { fprintf(stderr, "srtp_create: %d\n", status); return 1; }
    while (fgets(line, sizeof line, stdin)) {
        int len = from_hex(line, packet);
        if (protect)
            status = rtp ? srtp_protect_mki(session, packet, &len, use_mki, 0) : srtp_protect_rtcp_mki(session, packet, &len, use_mki, 0);
        else
            status = rtp ? srtp_unprotect_mki(session, packet, &len, use_mki) : srtp_unprotect_rtcp_mki(session, packet, &len, use_mki);
        if (status != srtp_err_status_ok) { printf("error %d\n", status); continue; }
        for (int at = 0; at < len; at++) printf("%02x", packet[at]);
        putchar('\n');
    }
    return 0;
}
