//! A bounded tree of local names, attributes and text out of any bytes at all.
//!
//! Names are compared without namespaces (clients use several, or none), which are kept for telling extension data. Entities are
//! never expanded but for the predefined five and character references, and reading goes on as far as it can: what was
//! understood before an error is kept.

use std::rc::Rc;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::cuts::Cuts;
use super::encoding;
use crate::limits::*;

/// An element.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Element {
    /// Its name without prefix.
    pub name: String,
    /// Its prefix, which may be declared nowhere; empty if it has none.
    pub prefix: String,
    /// The namespace of its name, if it has one that is declared.
    pub namespace: Option<Rc<str>>,
    /// Its attributes, names without prefix; namespace declarations are none.
    pub attributes: Vec<(String, String)>,
    /// Its own text, trimmed.
    pub text: String,
    /// Its elements, in order.
    pub children: Vec<Element>,
}

/// What was read.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Document {
    /// The root, if there is one.
    pub root: Option<Element>,
    /// Not well-formed: what is here was read before the error.
    pub malformed: bool,
    /// Of what there was more than the limits allow: the rest is left out.
    pub cuts: Cuts,
}

impl Element {
    /// The first attribute of any of these names, in this order of preference, that is not blank.
    pub fn attribute(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| {
            let found = self.attributes.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
            Some(found.1.trim()).filter(|value| !value.is_empty())
        })
    }

    /// The children of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.is(name))
    }

    /// The text of the first child of this name that has any.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.children.iter().filter(|c| c.is(name)).map(|c| c.text.as_str()).find(|text| !text.is_empty())
    }

    /// Whether this is its name, in whatever case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// Reads a document.
pub(super) fn read(raw: &[u8]) -> Document {
    let modelled = &raw[..raw.len().min(METADATA_DOCUMENT_BYTES_MAX)];
    let text = encoding::decoded(modelled);
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}').trim_start());
    let config = reader.config_mut();
    // OpenSIPS and others put names into the document without escaping them.
    config.allow_dangling_amp = true;
    let mut tree = Tree::default();
    tree.document.cuts.document_bytes = u64::from(modelled.len() < raw.len());
    // What follows the last element that counts is not even looked at.
    while tree.elements <= XML_ELEMENTS_MAX {
        match reader.read_event() {
            Ok(Event::Start(start)) => tree.open(&start),
            Ok(Event::Empty(start)) => {
                tree.open(&start);
                tree.close();
            }
            Ok(Event::End(_)) => tree.close(),
            Ok(Event::Text(text)) => tree.text(&text),
            Ok(Event::CData(data)) => tree.text(&data),
            Ok(Event::GeneralRef(reference)) => tree.reference(&reference),
            Ok(Event::Eof) => break,
            Ok(_) => {}
            Err(_) => {
                // Where we cut it ourselves it may be as good as any.
                tree.document.malformed = tree.document.cuts.is_none();
                break;
            }
        }
    }
    tree.finish()
}

/// The local name of the first element.
pub(super) fn root_name(raw: &[u8]) -> Option<String> {
    let text = encoding::decoded(&raw[..raw.len().min(METADATA_DOCUMENT_BYTES_MAX)]);
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}').trim_start());
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) | Event::Empty(start) => {
                return Some(start.local_name().into_inner().to_owned());
            }
            Event::Eof => return None,
            _ => {}
        }
    }
}

/// A namespace declaration in scope.
struct Declared {
    /// How many elements were open around the one that declares it.
    depth: usize,
    prefix: String,
    uri: Rc<str>,
}

#[derive(Default)]
struct Tree {
    document: Document,
    open: Vec<Element>,
    declared: Vec<Declared>,
    /// Elements open below the deepest that is kept.
    skipped: usize,
    elements: usize,
}

impl Tree {
    fn open(&mut self, start: &BytesStart<'_>) {
        self.elements += 1;
        let (deep, many) = (self.open.len() >= XML_DEPTH_MAX, self.elements > XML_ELEMENTS_MAX);
        if deep || many || self.skipped > 0 {
            // Once for a document, not once for each element.
            let cuts = &mut self.document.cuts;
            *if many { &mut cuts.xml_elements } else { &mut cuts.xml_depth } = 1;
            self.skipped += 1;
            return;
        }
        let attributes = self.attributes(start);
        let (name, prefix) = start.name().decompose();
        let prefix = prefix.map(|prefix| prefix.into_inner().to_owned()).unwrap_or_default();
        let namespace = self.declared.iter().rev().find(|known| known.prefix == prefix);
        // xmlns="" takes the default namespace back.
        let namespace = namespace.map(|known| known.uri.clone()).filter(|uri| !uri.is_empty());
        let name = name.into_inner().to_owned();
        self.open.push(Element { name, prefix, namespace, attributes, ..Element::default() });
    }

    fn declare(&mut self, prefix: &str, uri: &str) {
        if self.declared.len() == XML_NAMESPACES_MAX {
            self.document.cuts.xml_namespaces += 1;
            return;
        }
        self.declared.push(Declared { depth: self.open.len(), prefix: prefix.to_owned(), uri: uri.into() });
    }

    fn attributes(&mut self, start: &BytesStart<'_>) -> Vec<(String, String)> {
        let mut read = Vec::new();
        // Without the check for repeated names, which costs the square of their number.
        for attribute in start.attributes().with_checks(false) {
            if read.len() == XML_ATTRIBUTES_MAX {
                self.document.cuts.xml_attributes += 1;
                break;
            }
            let Ok(attribute) = attribute else {
                self.document.malformed = true;
                continue;
            };
            let (name, prefix) = attribute.key.decompose();
            let (name, prefix) = (name.into_inner(), prefix.map(|prefix| prefix.into_inner()));
            // An entity nobody declared: the text stays as it is.
            let value = match quick_xml::escape::unescape(&attribute.value) {
                Ok(value) => self.within(&value).to_owned(),
                Err(_) => self.within(&attribute.value).to_owned(),
            };
            match prefix {
                Some("xmlns") => self.declare(name, &value),
                None if name == "xmlns" => self.declare("", &value),
                _ => read.push((name.to_owned(), value)),
            }
        }
        read
    }

    fn text(&mut self, text: &str) {
        if self.skipped > 0 {
            return;
        }
        let Some(element) = self.open.last_mut() else { return };
        element.text.push_str(text);
        if element.text.len() > XML_VALUE_BYTES_MAX {
            element.text.truncate(element.text.floor_char_boundary(XML_VALUE_BYTES_MAX));
            self.document.cuts.xml_values += 1;
        }
    }

    fn reference(&mut self, reference: &quick_xml::events::BytesRef<'_>) {
        let known = match &**reference {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => reference.resolve_char_ref().ok().flatten(),
        };
        match known {
            Some(known) => self.text(known.encode_utf8(&mut [0; 4])),
            None => self.text(&format!("&{};", &**reference)),
        }
    }

    fn close(&mut self) {
        if self.skipped > 0 {
            self.skipped -= 1;
            return;
        }
        let Some(mut element) = self.open.pop() else { return };
        let depth = self.open.len();
        self.declared.truncate(self.declared.partition_point(|known| known.depth < depth));
        element.text = element.text.trim().to_owned();
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            // A second root is no XML; the first one counts.
            None if self.document.root.is_none() => self.document.root = Some(element),
            None => self.document.malformed = true,
        }
    }

    /// Closes what an error left open.
    fn finish(mut self) -> Document {
        self.document.malformed |= !self.open.is_empty() && self.document.cuts.is_none();
        self.skipped = 0;
        while !self.open.is_empty() {
            self.close();
        }
        self.document
    }

    fn within<'a>(&mut self, value: &'a str) -> &'a str {
        let end = value.floor_char_boundary(XML_VALUE_BYTES_MAX);
        self.document.cuts.xml_values += u64::from(end < value.len());
        &value[..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_lose_their_prefix_and_text_its_escapes() {
        let read = read(b"\xef\xbb\xbf <?xml version='1.0'?><x:a xmlns:x='u' x:b='1 &lt; 2'>A &amp; B &#x43; &who; <![CDATA[<&>]]></x:a>");
        let root = read.root.unwrap();
        assert_eq!((root.name.as_str(), root.attribute(&["b"])), ("a", Some("1 < 2")));
        assert_eq!(root.text, "A & B C &who; <&>");
        assert!(!read.malformed && read.cuts.is_none());
    }

    #[test]
    fn namespaces_are_known_in_their_scope_and_undeclared_prefixes_are_kept() {
        let read = read(b"<a xmlns='u' xmlns:p='v' id='1'><p:b xmlns=''><c/></p:b><q:d/><e xmlns:p='w'><p:f/></e><p:g/></a>");
        let root = read.root.unwrap();
        assert_eq!(root.attributes, [("id".to_owned(), "1".to_owned())], "declarations are no attributes");
        let space = |element: &Element| element.namespace.as_deref().map(str::to_owned);
        assert_eq!(space(&root).as_deref(), Some("u"));
        let [b, d, e, g] = &root.children[..] else { panic!("{:?}", root.children) };
        assert_eq!((space(b).as_deref(), space(&b.children[0])), (Some("v"), None));
        assert_eq!((space(d), d.prefix.as_str()), (None, "q"));
        assert_eq!((space(&e.children[0]).as_deref(), space(g).as_deref()), (Some("w"), Some("v")));
    }

    #[test]
    fn what_stands_before_an_error_is_kept() {
        for damaged in ["<a><b>1</b><c>2", "<a><b>1</b><c></a>", "<a><b>1</b><", "<a><b>1</b></a><z/>"] {
            let read = read(damaged.as_bytes());
            assert!(read.malformed, "{damaged}");
            assert_eq!(read.root.unwrap().text_of("b"), Some("1"), "{damaged}");
        }
        assert_eq!(read(b"<a>R & D</a>").root.unwrap().text, "R & D");
    }

    #[test]
    fn expansion_depth_and_size_attacks_stay_within_the_limits() {
        let bomb = b"<!DOCTYPE a [<!ENTITY x 'xxxxxxxxxx'><!ENTITY y '&x;&x;&x;&x;'>]><a b='&y;'>&y;</a>";
        let root = read(bomb).root.unwrap();
        assert_eq!((root.text.as_str(), root.attribute(&["b"])), ("&y;", Some("&y;")));

        let deep = format!("{}{}<z/>", "<a>".repeat(100_000), "</a>".repeat(99_999));
        let cuts = |text: &str| {
            let cuts = read(text.as_bytes()).cuts.each().filter(|(_, count)| *count > 0);
            cuts.map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(cuts(&deep[..METADATA_DOCUMENT_BYTES_MAX / 64]), ["xml_depth"]);
        let wide = format!("<a>{}</a>", "<b/>".repeat(XML_ELEMENTS_MAX + 5));
        assert_eq!(cuts(&wide), ["xml_elements"]);
        assert!(read(wide.as_bytes()).root.unwrap().children.len() < XML_ELEMENTS_MAX);
        let long = format!("<a b='{0}'>{0}</a>", "é".repeat(10_000));
        assert_eq!(cuts(&long), ["xml_values"]);
        assert!(read(long.as_bytes()).root.unwrap().text.len() <= XML_VALUE_BYTES_MAX);
        let spaces: String = (0..500).map(|n| format!("<a xmlns:p{n}='u'>")).collect();
        assert_eq!(cuts(&spaces), ["xml_depth"]);
        let scoped: String = (0..500).map(|n| format!(" xmlns:p{n}='u'")).collect();
        assert_eq!(cuts(&format!("<a{scoped}/>")), ["xml_namespaces"]);
        let huge = format!("<a><b>1</b>{}</a>", "<c/> ".repeat(METADATA_DOCUMENT_BYTES_MAX));
        assert_eq!(cuts(&huge), ["document_bytes", "xml_elements", "xml_values"]);
        let huge = read(huge.as_bytes());
        assert!(!huge.malformed && huge.root.unwrap().text_of("b") == Some("1"));
        let many: String = (0..5_000).map(|n| format!(" a{n}='1'")).collect();
        let many = format!("<a{many}/>");
        assert_eq!(cuts(&many), ["xml_attributes"]);
        assert_eq!(read(many.as_bytes()).root.unwrap().attributes.len(), XML_ATTRIBUTES_MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            read(&bytes);
        }

        #[test]
        fn anything_like_xml_is_read(text in "(</?[ab:]{1,3}( a=['\"][^<]?['\"])?/?>|&[a-z#0-9]{0,4};?|[ -~]|<!\\[CDATA\\[|\\]\\]>|<!--|-->){0,60}") {
            read(text.as_bytes());
        }
    }
}
