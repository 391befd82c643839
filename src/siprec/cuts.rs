//! What there was too much of in metadata and bodies: a counter for each limit. The raw bytes are kept all the same.

use crate::sip::multipart;

crate::counters! {
    /// How often a limit of [`crate::limits`] left something out of the model.
    pub struct Cuts {
        /// Multipart bodies of too many parts: taken as if they had none.
        pub multipart_parts: u64,
        /// Multipart bodies without a delimiter.
        pub multipart_delimiter: u64,
        /// Multipart bodies nested too deep.
        pub multipart_depth: u64,
        /// Parts of multipart bodies with too many headers.
        pub multipart_head: u64,
        /// Documents too long.
        pub document_bytes: u64,
        /// Documents nested too deep.
        pub xml_depth: u64,
        /// Documents of too many elements.
        pub xml_elements: u64,
        /// Elements with too many attributes.
        pub xml_attributes: u64,
        /// Texts and attribute values too long.
        pub xml_values: u64,
        /// Too many namespace declarations in scope.
        pub xml_namespaces: u64,
        /// Documents of too many groups, sessions, participants, streams and associations.
        pub entries: u64,
        /// The same of a recording, all documents together.
        pub records: u64,
        /// Changes that a recording's history has no room for.
        pub events: u64,
        /// Texts that a recording's history has no room for.
        pub texts: u64,
        /// Names of one participant beyond what is kept.
        pub names: u64,
        /// Elements of extension data beyond what is kept.
        pub extensions: u64,
        /// Former labels of tracks beyond what is kept.
        pub labels: u64,
        /// Requests whose header fields took the place of another's.
        pub messages: u64,
        /// Raw documents that took the place of another.
        pub revisions: u64,
        /// Raw documents cut because all calls together held as much as they may.
        pub revisions_cut: u64,
    }
}

impl Cuts {
    /// Whether nothing was left out.
    pub fn is_none(&self) -> bool {
        *self == Cuts::default()
    }

    /// Why a body could not be taken apart, if it could not.
    pub(crate) fn multipart(&mut self, why: Option<multipart::Error>) {
        match why {
            None => {}
            Some(multipart::Error::NoDelimiter) => self.multipart_delimiter += 1,
            Some(multipart::Error::TooManyParts) => self.multipart_parts += 1,
            Some(multipart::Error::TooDeep) => self.multipart_depth += 1,
            Some(multipart::Error::HeadTooLong) => self.multipart_head += 1,
        }
    }
}
