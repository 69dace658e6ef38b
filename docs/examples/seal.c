/* Seals a payload as a device does where a route says seal = "require_sealed" (docs/sealed-payload-format.md, version 2).
 *
 *     cc -O2 -Wall -Wextra -o seal seal.c -lcrypto
 *     printf '{"t": 21.5}' | ./seal dev-00001 devices/dev-00001/telemetry/t 4294967297 PUBLIC_KEY_HEX... > payload
 *
 * PUBLIC_KEY_HEX is a recipient's X25519 key, 32 bytes; give several for several recipients. What comes out is the MQTT payload.
 * It needs OpenSSL 3's libcrypto for X25519, HMAC-SHA-256, AES-256-GCM and random bytes; on a microcontroller these four are what
 * mbedTLS, wolfCrypt or the like have, and the rest of this file stays as it is.
 *
 * A device does the key block once after each start and keeps it, and the content key, in memory: `make_key_block` and
 * `seal` are apart for that. The number must rise for ever; see "The number" in the document.
 *
 * -c and -e set the content key and the ephemeral keys, for the test vectors. Nobody else may: both have to be random.
 */

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY = 32, HASH = 32, TAG = 16, NONCE = 12, KEY_ID = 16, WRAPPED = KEY + KEY + TAG, RECIPIENTS_MAX = 16,
       ENTRY = 6 + KEY_ID + 2 + WRAPPED, BLOCK_MAX = 1 + RECIPIENTS_MAX * ENTRY, NAME_MAX_BYTES = 65535,
       PAYLOAD_MAX = 1 << 20 };

static const uint8_t SUITE[6] = {0x00, 0x20, 0x00, 0x01, 0x00, 0x02}; /* X25519, HKDF-SHA256, AES-256-GCM */

static void need(int well, const char *what)
{
    if (!well) {
        fprintf(stderr, "seal: %s\n", what);
        exit(1);
    }
}

/* Bytes that are put together piece by piece. */
struct text {
    size_t length;
    uint8_t bytes[3 * NAME_MAX_BYTES];
};

static void add(struct text *to, const void *bytes, size_t length)
{
    need(length <= sizeof to->bytes - to->length, "a name is too long");
    if (length > 0)
        memcpy(to->bytes + to->length, bytes, length);
    to->length += length;
}

static void add_number(struct text *to, uint64_t number, int bytes)
{
    while (bytes-- > 0)
        add(to, &(uint8_t){(uint8_t)(number >> 8 * bytes)}, 1);
}

/* --- HPKE, RFC 9180, base mode: what `SealBase` takes for one short secret --------------------------------------------- */

static void hmac(const uint8_t key[HASH], const struct text *data, uint8_t out[HASH])
{
    need(HMAC(EVP_sha256(), key, HASH, data->bytes, data->length, out, NULL) != NULL, "HMAC failed");
}

/* The suite's name in labels: "KEM" and the KEM inside the key encapsulation, "HPKE" and all three outside (§4.1, §5.1). */
static void add_label(struct text *to, int in_kem, const char *label)
{
    add(to, "HPKE-v1", 7);
    add(to, in_kem ? "KEM" : "HPKE", in_kem ? 3 : 4);
    add(to, SUITE, in_kem ? 2 : 6);
    add(to, label, strlen(label));
}

static void labeled_extract(const uint8_t salt[HASH], int in_kem, const char *label, const void *ikm, size_t length,
                            uint8_t out[HASH])
{
    static struct text data;
    data.length = 0;
    add_label(&data, in_kem, label);
    add(&data, ikm, length);
    hmac(salt, &data, out);
}

/* To 32 bytes at most: one round of HKDF-Expand (RFC 5869 §2.3). */
static void labeled_expand(const uint8_t prk[HASH], int in_kem, const char *label, const uint8_t *info,
                           size_t info_length, uint8_t *out, size_t length)
{
    static struct text data;
    uint8_t block[HASH];
    data.length = 0;
    add_number(&data, length, 2);
    add_label(&data, in_kem, label);
    add(&data, info, info_length);
    add(&data, "\x01", 1);
    hmac(prk, &data, block);
    memcpy(out, block, length);
}

static void x25519(const uint8_t private_key[KEY], const uint8_t public_key[KEY], uint8_t enc[KEY], uint8_t dh[KEY])
{
    EVP_PKEY *mine = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private_key, KEY);
    EVP_PKEY *theirs = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, public_key, KEY);
    EVP_PKEY_CTX *context = mine == NULL ? NULL : EVP_PKEY_CTX_new(mine, NULL);
    size_t enc_length = KEY, dh_length = KEY;
    need(context != NULL && theirs != NULL && EVP_PKEY_get_raw_public_key(mine, enc, &enc_length) == 1 &&
             EVP_PKEY_derive_init(context) == 1 && EVP_PKEY_derive_set_peer(context, theirs) == 1 &&
             EVP_PKEY_derive(context, dh, &dh_length) == 1, "X25519 failed: is that a public key?");
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(theirs);
    EVP_PKEY_free(mine);
}

/* Writes the ciphertext and behind it the tag. */
static void aes_256_gcm(const uint8_t key[KEY], const uint8_t nonce[NONCE], const struct text *associated,
                        const uint8_t *plain, int length, uint8_t *out)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int done = 0;
    need(context != NULL && EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), NULL, key, nonce) == 1, "AES failed");
    if (associated != NULL)
        need(EVP_EncryptUpdate(context, NULL, &done, associated->bytes, (int)associated->length) == 1, "AES failed");
    need(EVP_EncryptUpdate(context, out, &done, plain, length) == 1 &&
             EVP_EncryptFinal_ex(context, out + done, &done) == 1 &&
             EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, TAG, out + length) == 1, "AES failed");
    EVP_CIPHER_CTX_free(context);
}

/* `enc` and the content key, encrypted for one recipient. */
static void wrap(const uint8_t content_key[KEY], const uint8_t ephemeral[KEY], const uint8_t recipient[KEY],
                 const struct text *info, uint8_t wrapped[WRAPPED])
{
    static const uint8_t no_salt[HASH];
    uint8_t dh[KEY], prk[HASH], shared[HASH], secret[HASH], key[KEY], nonce[NONCE];
    uint8_t kem_context[2 * KEY], schedule[1 + 2 * HASH] = {0}; /* mode 0: base */
    uint8_t *enc = wrapped;

    x25519(ephemeral, recipient, enc, dh);
    memcpy(kem_context, enc, KEY);
    memcpy(kem_context + KEY, recipient, KEY);
    labeled_extract(no_salt, 1, "eae_prk", dh, KEY, prk);
    labeled_expand(prk, 1, "shared_secret", kem_context, sizeof kem_context, shared, HASH);

    labeled_extract(no_salt, 0, "psk_id_hash", "", 0, schedule + 1);
    labeled_extract(no_salt, 0, "info_hash", info->bytes, info->length, schedule + 1 + HASH);
    labeled_extract(shared, 0, "secret", "", 0, secret);
    labeled_expand(secret, 0, "key", schedule, sizeof schedule, key, KEY);
    labeled_expand(secret, 0, "base_nonce", schedule, sizeof schedule, nonce, NONCE);
    aes_256_gcm(key, nonce, NULL, content_key, KEY, wrapped + KEY);
    OPENSSL_cleanse(dh, sizeof dh);
    OPENSSL_cleanse(prk, sizeof prk);
    OPENSSL_cleanse(shared, sizeof shared);
    OPENSSL_cleanse(secret, sizeof secret);
    OPENSSL_cleanse(key, sizeof key);
}

/* --- the format -------------------------------------------------------------------------------------------------------- */

/* Once for a content key. `ephemeral` and `recipients` hold a key of 32 bytes for each recipient. */
static size_t make_key_block(const char *device, const uint8_t content_key[KEY], const uint8_t *ephemeral,
                             const uint8_t *recipients, int count, uint8_t block[BLOCK_MAX])
{
    static struct text info;
    uint8_t *at = block, named[2 + KEY], digest[HASH];
    info.length = 0;
    add(&info, "busbridge/seal/2", 17); /* with the zero byte at its end */
    add(&info, device, strlen(device));
    *at++ = (uint8_t)count;
    for (int n = 0; n < count; n++) {
        memcpy(named, SUITE, 2);
        memcpy(named + 2, recipients + n * KEY, KEY);
        need(EVP_Digest(named, sizeof named, digest, NULL, EVP_sha256(), NULL) == 1, "SHA-256 failed");
        memcpy(at, SUITE, sizeof SUITE);
        memcpy(at + 6, digest, KEY_ID);
        at[6 + KEY_ID] = 0;
        at[7 + KEY_ID] = WRAPPED;
        wrap(content_key, ephemeral + n * KEY, recipients + n * KEY, &info, at + 8 + KEY_ID);
        at += ENTRY;
    }
    return (size_t)(at - block);
}

/* For every payload: writes the MQTT payload to standard output. */
static void seal(const char *device, const char *topic, uint64_t number, const uint8_t content_key[KEY],
                 const uint8_t *block, size_t block_length, const uint8_t *payload, int length)
{
    static struct text associated, head;
    static uint8_t sealed[PAYLOAD_MAX + TAG];
    uint8_t digest[HASH], nonce[NONCE] = {0};

    associated.length = head.length = 0;
    need(EVP_Digest(block, block_length, digest, NULL, EVP_sha256(), NULL) == 1, "SHA-256 failed");
    add_number(&associated, number, 8);
    memcpy(nonce + 4, associated.bytes, 8);
    add(&associated, digest, HASH);
    add_number(&associated, strlen(device), 2);
    add(&associated, device, strlen(device));
    add(&associated, topic, strlen(topic));
    aes_256_gcm(content_key, nonce, &associated, payload, length, sealed);

    add(&head, "\xf5" "BBS2", 5);
    add_number(&head, block_length, 2);
    add(&head, block, block_length);
    add_number(&head, number, 8);
    need(fwrite(head.bytes, 1, head.length, stdout) == head.length &&
             fwrite(sealed, 1, (size_t)length + TAG, stdout) == (size_t)length + TAG && fflush(stdout) == 0,
         "cannot write");
}

static void from_hex(const char *hex, uint8_t key[KEY])
{
    size_t length = 0;
    need(OPENSSL_hexstr2buf_ex(key, KEY, &length, hex, '\0') == 1 && length == KEY, "a key is 64 hexadecimal digits");
}

int main(int argc, char **argv)
{
    static uint8_t payload[PAYLOAD_MAX + 1], block[BLOCK_MAX];
    uint8_t content_key[KEY], ephemeral[RECIPIENTS_MAX * KEY], recipients[RECIPIENTS_MAX * KEY];
    int option, given = 0;

    need(RAND_bytes(content_key, KEY) == 1 && RAND_bytes(ephemeral, sizeof ephemeral) == 1, "no random bytes");
    while ((option = getopt(argc, argv, "c:e:")) != -1) {
        need(option == 'c' || (option == 'e' && given < RECIPIENTS_MAX), "unknown option, or too many -e");
        from_hex(optarg, option == 'c' ? content_key : ephemeral + KEY * given++);
    }
    int count = argc - optind - 3;
    need(count >= 1 && count <= RECIPIENTS_MAX, "usage: seal DEVICE TOPIC NUMBER PUBLIC_KEY_HEX... < PAYLOAD");
    const char *device = argv[optind], *topic = argv[optind + 1];
    for (int n = 0; n < count; n++)
        from_hex(argv[optind + 3 + n], recipients + n * KEY);
    size_t length = fread(payload, 1, sizeof payload, stdin);
    need(length <= PAYLOAD_MAX, "the payload is too long");

    size_t block_length = make_key_block(device, content_key, ephemeral, recipients, count, block);
    seal(device, topic, strtoull(argv[optind + 2], NULL, 10), content_key, block, block_length, payload, (int)length);
    OPENSSL_cleanse(content_key, sizeof content_key);
    OPENSSL_cleanse(ephemeral, sizeof ephemeral);
    return 0;
}
