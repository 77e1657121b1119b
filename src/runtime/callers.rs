//! The callers of a snapshot.
//!
//! Owns what of the configuration they are found by. Does not handle how (see `auth`). Cannot fail.

use std::sync::Arc;

use super::joined::{Joined, Member};
use crate::auth::{CallerState, Callers, CertificateName, Configured, Key, Owner, SignatureKey};
use crate::config::{Config, Tenant};
use crate::secret::KeyHash;
use crate::signature::SigningKey;

/// The callers, in the order of the tenants.
pub fn callers(config: &Config, joined: &Joined<'_>, state: &CallerState) -> Callers {
    let members = || joined.members.iter().enumerate();
    let tenants = || members().map(|(position, member)| (position, member.tenant));
    let masks = config.server.log.mask;
    let listeners = config.server.listen.iter().map(|listener| listener.auth);
    let configured = Configured {
        owners: tenants().map(|(_, tenant)| owner(tenant)).collect(),
        listeners: listeners.collect(),
        keys: members()
            .flat_map(|(position, member)| keys(position, member, masks))
            .collect(),
        issuers: &config.auth.jwt,
        signature_keys: tenants()
            .flat_map(|(position, tenant)| signature_keys(position, tenant, masks))
            .collect(),
        signature_terms: config.auth.hmac,
        certificate_names: tenants()
            .flat_map(|(position, tenant)| certificate_names(position, tenant, masks))
            .collect(),
        masks_names: masks,
    };
    Callers::new(configured, state)
}

fn owner(tenant: &Tenant) -> Owner {
    Owner {
        id: tenant.id.value.as_str().into(),
        prefix: tenant.key_prefix.as_ref().map(|p| p.value.clone()),
        validity: tenant.validity,
        methods: tenant.auth,
        addresses: tenant.addresses.clone(),
    }
}

fn keys<'a>(
    tenant: usize,
    member: &'a Member<'_>,
    masks: bool,
) -> impl Iterator<Item = Key> + use<'a> {
    member.keys.iter().map(move |key| {
        let models = key.models.as_ref();
        let names = models.map(|names| names.iter().map(|name| name.value.clone()).collect());
        let name: Arc<str> = key.shown().into();
        Key {
            hash: key.hash.value,
            tenant,
            logged_name: match masks {
                true => key.hash.value.fingerprint().into(),
                false => Arc::clone(&name),
            },
            name,
            validity: key.validity,
            models: names.map(Arc::new),
        }
    })
}

fn signature_keys(
    tenant: usize,
    written: &Tenant,
    masks: bool,
) -> impl Iterator<Item = SignatureKey> + '_ {
    written.hmac.iter().filter_map(move |key| {
        let id: Arc<str> = key.id.value.as_str().into();
        Some(SignatureKey {
            key: SigningKey::new(key.secret.expose().as_bytes())?,
            logged_id: logged(&id, masks),
            id,
            tenant,
            validity: key.validity,
        })
    })
}

fn certificate_names(
    tenant: usize,
    written: &Tenant,
    masks: bool,
) -> impl Iterator<Item = CertificateName> + '_ {
    written.mtls.iter().map(move |name| {
        let shown: Arc<str> = name.value.shown().into();
        CertificateName {
            logged: logged(&shown, masks),
            shown,
            name: name.value.clone(),
            tenant,
        }
    })
}

/// The name in the log of what has a name elsewhere.
fn logged(name: &Arc<str>, masks: bool) -> Arc<str> {
    match masks {
        true => KeyHash::of(name.as_bytes()).fingerprint().into(),
        false => Arc::clone(name),
    }
}
