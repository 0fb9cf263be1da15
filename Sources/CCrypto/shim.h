// OpenSSL 3 for Swift. What OpenSSL offers as a macro, a variadic function or a typed stack, Swift cannot see: those few are
// wrapped here, each in a function that does nothing but call them. They return what the call returns.
#pragma once
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

// MARK: Keys

/// A new ECDSA key on P-256 (FIPS 186-4), to be freed with EVP_PKEY_free.
static inline EVP_PKEY *ccrypto_make_p256(void) { return EVP_EC_gen("P-256"); }

// MARK: Memory as a stream

/// What was written into a memory BIO and not read yet; `*bytes` is valid until the BIO changes.
static inline long ccrypto_bio_contents(BIO *bio, char **bytes) { return BIO_get_mem_data(bio, bytes); }
/// How many bytes wait in the BIO.
static inline size_t ccrypto_bio_pending(BIO *bio) { return BIO_ctrl_pending(bio); }
/// An empty memory BIO says "try again" instead of "the end".
static inline void ccrypto_bio_never_ends(BIO *bio) { BIO_set_mem_eof_return(bio, -1); }

// MARK: Certificates

/// The subject alternative names, or NULL; to be freed with GENERAL_NAMES_free.
static inline GENERAL_NAMES *ccrypto_names(const X509 *certificate) {
    return (GENERAL_NAMES *)X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
}
static inline GENERAL_NAMES *ccrypto_request_names(X509_REQ *request) {
    STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(request);
    GENERAL_NAMES *names = (GENERAL_NAMES *)X509V3_get_d2i(extensions, NID_subject_alt_name, NULL, NULL);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    return names;
}
static inline int ccrypto_name_count(const GENERAL_NAMES *names) { return sk_GENERAL_NAME_num(names); }
/// The bytes of the name at `index` when it is a URI, else NULL; valid as long as `names`.
static inline const unsigned char *ccrypto_name_uri(const GENERAL_NAMES *names, int index, int *length) {
    const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, index);
    if (name == NULL || name->type != GEN_URI) return NULL;
    *length = ASN1_STRING_length(name->d.uniformResourceIdentifier);
    return ASN1_STRING_get0_data(name->d.uniformResourceIdentifier);
}
/// A list of one URI, built by hand: OpenSSL's text form would read a comma in it as the start of another name.
static inline GENERAL_NAMES *ccrypto_make_uri_names(const char *uri, int length) {
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    if (names == NULL || name == NULL || text == NULL || !ASN1_STRING_set(text, uri, length)
        || !sk_GENERAL_NAME_push(names, name)) {
        ASN1_IA5STRING_free(text);
        GENERAL_NAME_free(name);
        sk_GENERAL_NAME_free(names);
        return NULL;
    }
    GENERAL_NAME_set0_value(name, GEN_URI, text);
    return names;
}
static inline int ccrypto_add_uri(X509 *certificate, const char *uri, int length) {
    GENERAL_NAMES *names = ccrypto_make_uri_names(uri, length);
    int done = names != NULL && X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
    GENERAL_NAMES_free(names);
    return done;
}
static inline int ccrypto_request_uri(X509_REQ *request, const char *uri, int length) {
    GENERAL_NAMES *names = ccrypto_make_uri_names(uri, length);
    STACK_OF(X509_EXTENSION) *extensions = NULL;
    int done = names != NULL && X509V3_add1_i2d(&extensions, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1
        && X509_REQ_add_extensions(request, extensions) == 1;
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    GENERAL_NAMES_free(names);
    return done;
}
/// Adds an extension in OpenSSL's text form ("critical,CA:TRUE"); only for texts of our own.
static inline int ccrypto_add_extension(X509 *certificate, X509 *issuer, int nid, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509V3_set_ctx_nodb(&context);
    X509_EXTENSION *extension = X509V3_EXT_nconf_nid(NULL, &context, nid, value);
    int done = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return done;
}
static inline int ccrypto_chain_count(const STACK_OF(X509) *chain) { return sk_X509_num(chain); }
static inline X509 *ccrypto_chain_at(const STACK_OF(X509) *chain, int index) { return sk_X509_value(chain, index); }
/// A list of that one certificate, which it does not own; to be freed with ccrypto_free_list.
static inline STACK_OF(X509) *ccrypto_make_list(X509 *certificate) {
    STACK_OF(X509) *list = sk_X509_new_null();
    if (list != NULL && sk_X509_push(list, certificate) == 0) {
        sk_X509_free(list);
        return NULL;
    }
    return list;
}
static inline void ccrypto_free_list(STACK_OF(X509) *list) { sk_X509_free(list); }

// MARK: TLS

/// TLS 1.3 and nothing else, without session tickets (so no resumption and no 0-RTT) and compression.
static inline int ccrypto_only_tls13(SSL_CTX *context) {
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    // Buffers are given back while a connection is idle; writes may be repeated from another address; nothing is sent after the own
    // certificate but what was given for it (OpenSSL would look for its issuers among those that are trusted, in each handshake).
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
    return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1
        && SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 && SSL_CTX_set_num_tickets(context, 0) == 1;
}
/// Adds a certificate that is sent after one's own; the context takes a reference of its own.
static inline int ccrypto_add_chain(SSL_CTX *context, X509 *certificate) {
    return (int)SSL_CTX_add1_chain_cert(context, certificate);
}
/// Sends one's own certificate alone.
static inline void ccrypto_send_no_chain(SSL *ssl) { SSL_clear_chain_certs(ssl); }
/// At most that many bytes of certificates from the peer.
static inline void ccrypto_limit_chain(SSL_CTX *context, long bytes) { SSL_CTX_set_max_cert_list(context, bytes); }
/// Names the server in the ClientHello (RFC 6066 section 3).
static inline int ccrypto_say_server_name(SSL *ssl, const char *name) { return (int)SSL_set_tlsext_host_name(ssl, name); }
