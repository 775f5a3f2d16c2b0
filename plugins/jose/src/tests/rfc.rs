//! Examples of RFC 7515 and RFC 8037. The values are those documents'.

use serde_json::{Value, json};

use super::fixture::key;
use super::native::verdict;
use crate::jwk::KeySet;
use crate::jws::Unverified;
use crate::signatures::{Pure, Signatures};

const RS256: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
const N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const ES256: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
const EDDSA: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

/// RFC 7515 A.2, A.3; RFC 8037 A.2, A.4.
fn rows() -> [(&'static str, Value, &'static str); 3] {
    let x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    let y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
    let okp = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    [
        (RS256, json!({"kty": "RSA", "n": N, "e": "AQAB"}), "{\"iss\":\"joe\","),
        (ES256, json!({"kty": "EC", "crv": "P-256", "x": x, "y": y}), "{\"iss\":\"joe\","),
        (EDDSA, json!({"kty": "OKP", "crv": "Ed25519", "x": okp}), "Example of Ed25519 signing"),
    ]
}

#[test]
fn the_examples_of_the_rfcs_are_verified() {
    for (token, jwk, start) in rows() {
        let keys = KeySet::of(vec![key(jwk).unwrap()]).unwrap();
        let parsed = Unverified::parse(token.as_bytes()).unwrap();
        let verified = parsed.verify(&keys, &Pure).unwrap();
        assert!(verified.payload.starts_with(start.as_bytes()), "{start}");
    }
}

#[test]
fn a_flip_of_any_bit_of_their_signatures_is_refused_both_ways() {
    use base64::Engine;
    for (token, jwk, _) in rows() {
        let key = key(jwk).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(verdict(&key, signed.as_bytes(), &signature));
        for bit in (0..signature.len() * 8).step_by(7) {
            let mut flipped = signature.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!verdict(&key, signed.as_bytes(), &flipped), "{bit}");
        }
        for length in [0, 1, signature.len() - 1] {
            assert!(!verdict(&key, signed.as_bytes(), &signature[..length]));
        }
        let longer = [&signature[..], &[0]].concat();
        assert!(!verdict(&key, signed.as_bytes(), &longer));
        assert!(!Pure.hold(&key, b"other", &signature));
    }
}
