/* libsrtp as the other end of a pipe: one command a line on standard input, one answer a line on standard output.
 *
 *   key PROFILE HEX          start again with this master key and salt, in both directions
 *   protect HEX              an RTP packet -> what libsrtp would send
 *   unprotect HEX            what we would send -> the RTP packet, or "error N" (srtp_err_status_t)
 *   protect_rtcp HEX, unprotect_rtcp HEX
 */
#include <srtp2/srtp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BYTES = 2048 };

static srtp_t out, in;

static int read_hex(const char *text, unsigned char *bytes)
{
    int length = 0;
    unsigned value;
    while (length < MAX_BYTES && sscanf(text + 2 * length, "%2x", &value) == 1)
        bytes[length++] = (unsigned char)value;
    return length;
}

static void set_profile(srtp_policy_t *policy, const char *name)
{
    if (strcmp(name, "AES_CM_128_HMAC_SHA1_80") == 0) {
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_80(&policy->rtp);
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_80(&policy->rtcp);
    } else if (strcmp(name, "AES_CM_128_HMAC_SHA1_32") == 0) {
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32(&policy->rtp);
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_80(&policy->rtcp);
    } else if (strcmp(name, "AEAD_AES_128_GCM") == 0) {
        srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy->rtp);
        srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy->rtcp);
    } else if (strcmp(name, "AEAD_AES_256_GCM") == 0) {
        srtp_crypto_policy_set_aes_gcm_256_16_auth(&policy->rtp);
        srtp_crypto_policy_set_aes_gcm_256_16_auth(&policy->rtcp);
    } else {
        exit(2);
    }
}

static int set_key(const char *profile, const char *hex)
{
    unsigned char key[MAX_BYTES];
    srtp_policy_t policy;
    int status;
    memset(&policy, 0, sizeof policy);
    set_profile(&policy, profile);
    read_hex(hex, key);
    policy.key = key;
    policy.window_size = 128;
    policy.ssrc.type = ssrc_any_outbound;
    if ((status = srtp_create(&out, &policy)) != 0)
        return status;
    policy.ssrc.type = ssrc_any_inbound;
    return srtp_create(&in, &policy);
}

static int convert(const char *command, unsigned char *packet, int *length)
{
    if (strcmp(command, "protect") == 0)
        return srtp_protect(out, packet, length);
    if (strcmp(command, "unprotect") == 0)
        return srtp_unprotect(in, packet, length);
    if (strcmp(command, "protect_rtcp") == 0)
        return srtp_protect_rtcp(out, packet, length);
    if (strcmp(command, "unprotect_rtcp") == 0)
        return srtp_unprotect_rtcp(in, packet, length);
    exit(2);
}

int main(void)
{
    static char line[2 * MAX_BYTES + 100], command[32], first[2 * MAX_BYTES + 1], second[200];
    if (srtp_init() != 0)
        return 1;
    while (fgets(line, sizeof line, stdin) != NULL) {
        unsigned char packet[MAX_BYTES + SRTP_MAX_TRAILER_LEN];
        int status, length;
        int words = sscanf(line, "%31s %4096s %199s", command, first, second);
        if (words == 3 && strcmp(command, "key") == 0) {
            status = set_key(first, second);
            length = 0;
        } else {
            length = read_hex(first, packet);
            status = convert(command, packet, &length);
        }
        if (status != 0) {
            printf("error %d", status);
        } else {
            for (int i = 0; i < length; i++)
                printf("%02x", packet[i]);
        }
        printf("\n");
        fflush(stdout);
    }
    return 0;
}
