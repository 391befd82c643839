//! Everything that the messages of one recording session tell of the recorded calls: what a manifest holds of it comes from here.

use super::correlation::{self, Correlation};
use super::cuts::Cuts;
use super::extension::{Extension, Known};
use super::headers::{self, Named};
use super::metadata::{Flag, Metadata};
use super::{Bodies, History, Sign, Vendor, VendorSign, role, vendor};
use crate::limits::{EXTENSION_BYTES_MAX, EXTENSIONS_MAX};
use crate::sip::{Message, Method};

/// See the module.
#[derive(Clone, Default, Debug)]
pub struct Dossier {
    history: History,
    extensions: Vec<Extension>,
    extension_bytes: usize,
    sign: Option<Sign>,
    vendor: Option<Vendor>,
    signs: Vec<VendorSign>,
    named: Vec<Named>,
    correlations: Vec<Correlation>,
    cuts: Cuts,
}

/// A dossier taken apart.
pub struct Told {
    /// By what the INVITE was recognised as a recording session.
    pub sign: Option<Sign>,
    /// Whose client it is.
    pub vendor: Option<Vendor>,
    /// Every sign of that.
    pub signs: Vec<VendorSign>,
    /// The model, its participants with roles and names.
    pub history: History,
    /// Identifiers by which the call may be found elsewhere.
    pub correlations: Vec<Correlation>,
    /// Extension data whose meaning is known.
    pub known: Vec<Known>,
    /// All extension data.
    pub extensions: Vec<Extension>,
}

impl Dossier {
    /// Takes in the INVITE that began the recording session, at `at` (RFC 3339). Gives what was odd about its metadata.
    pub fn invite(&mut self, at: &str, invite: &Message, bodies: &Bodies<'_>) -> Vec<Flag> {
        let metadata = match bodies.metadata {
            Some(raw) => Metadata::read(raw),
            None => headers::metadata(invite).unwrap_or_else(Metadata::missing),
        };
        self.sign = Sign::of(invite, bodies);
        (self.vendor, self.signs) = vendor::recognise(invite, bodies, &metadata);
        self.named = headers::names(invite);
        correlation::of_message(invite, &mut self.correlations);
        self.take(at, &metadata, false)
    }

    /// Takes in a later message within the dialog.
    pub fn message(&mut self, at: &str, message: &Message, bodies: &Bodies<'_>) -> Vec<Flag> {
        correlation::of_message(message, &mut self.correlations);
        match bodies.metadata {
            Some(raw) => self.take(at, &Metadata::read(raw), *message.method() == Method::Bye),
            None => Vec::new(),
        }
    }

    fn take(&mut self, at: &str, metadata: &Metadata, last: bool) -> Vec<Flag> {
        for extension in &metadata.extensions {
            let bytes = extension.bytes();
            if self.extensions.contains(extension) {
                continue;
            }
            if self.extensions.len() == EXTENSIONS_MAX || self.extension_bytes + bytes > EXTENSION_BYTES_MAX {
                self.cuts.extensions += 1;
                continue;
            }
            self.extension_bytes += bytes;
            self.extensions.push(extension.clone());
        }
        self.history.apply(metadata, at, last)
    }

    /// Of what there was too much, since the last time.
    pub fn take_cuts(&mut self) -> Cuts {
        let mut cuts = std::mem::take(&mut self.cuts);
        cuts.add(&self.history.take_cuts());
        cuts
    }

    /// The model, state and history.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// What a manifest holds of it.
    pub fn told(mut self) -> Told {
        let known: Vec<Known> = self.extensions.iter().filter_map(Extension::known).collect();
        self.introduce(&known);
        correlation::of_metadata(&self.history, &known, &mut self.correlations);
        let Dossier { history, extensions, sign, vendor, signs, correlations, .. } = self;
        Told { sign, vendor, signs, history, correlations, known, extensions }
    }

    /// Gives the participants their roles, and names from header fields where the metadata has none.
    fn introduce(&mut self, known: &[Known]) {
        let roles = role::roles(&self.history, self.vendor, known);
        for (who, role) in self.history.participants.iter_mut().zip(roles) {
            who.role = role;
            if !who.names.is_empty() {
                continue;
            }
            if let Some((name, header)) = headers::name_of(&self.named, &who.aors) {
                who.names.push(name.clone());
                who.name_from = Some(header.to_owned());
            }
        }
    }
}
