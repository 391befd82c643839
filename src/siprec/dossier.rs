//! Everything that the messages of one recording session tell of the recorded calls: what a manifest holds of it comes from here.

use super::correlation::{self, Correlation};
use super::cuts::Cuts;
use super::extension::{Extension, Known};
use super::headers::{self, Named};
use super::metadata::{Flag, Metadata};
use super::records::ParticipantRecord;
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

    /// Extension data, each once.
    pub fn extensions(&self) -> &[Extension] {
        &self.extensions
    }

    /// Extension data whose meaning is known.
    pub fn known(&self) -> Vec<Known> {
        self.extensions.iter().filter_map(Extension::known).collect()
    }

    /// By what it was recognised as a recording session, if by anything.
    pub fn sign(&self) -> Option<Sign> {
        self.sign
    }

    /// Whose client it is, if that is known, and every sign that was seen.
    pub fn vendor(&self) -> (Option<Vendor>, &[VendorSign]) {
        (self.vendor, &self.signs)
    }

    /// Identifiers by which the call may be found elsewhere.
    pub fn correlations(&self) -> Vec<Correlation> {
        let mut all = self.correlations.clone();
        correlation::of_metadata(&self.history, &self.known(), &mut all);
        all
    }

    /// The participants with their roles, and with names from header fields where the metadata has none.
    pub fn participants(&self) -> Vec<ParticipantRecord> {
        let roles = role::roles(&self.history, self.vendor, &self.known());
        let mut people = self.history.participants.clone();
        for (who, role) in people.iter_mut().zip(roles) {
            who.role = role;
            if !who.names.is_empty() {
                continue;
            }
            if let Some((name, header)) = headers::name_of(&self.named, &who.aors) {
                who.names.push(name.clone());
                who.name_from = Some(header.to_owned());
            }
        }
        people
    }
}
