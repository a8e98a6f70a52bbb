//! The arguments of a call from Python, and their parsing.

use std::ffi::CStr;

use super::{Object, Outcome, Raised, sys};

/// The arguments that CPython lends for the length of a call.
#[derive(Clone, Copy)]
pub(crate) struct Arguments<'a> {
    positional: &'a [Object],
    /// The keywords' names and, at equal indices, their values.
    names: &'a [Object],
    values: &'a [Object],
}

impl<'a> Arguments<'a> {
    /// # Safety
    /// * The triple is what CPython gives to a `METH_FASTCALL | METH_KEYWORDS` function:
    ///   `count` positional arguments, then one value for each entry of the tuple `names`.
    #[inline]
    pub(super) unsafe fn from_vectorcall(
        arguments: *const *mut sys::PyObject,
        count: usize,
        names: &'a *mut sys::PyObject,
    ) -> Arguments<'a> {
        // SAFETY: by the caller's word.
        unsafe {
            let names: &[Object] = if names.is_null() {
                &[]
            } else {
                Object::view(names).tuple_items()
            };
            let all = Object::view_slice(arguments, count + names.len());
            let (positional, values) = all.split_at(count);
            Arguments {
                positional,
                names,
                values,
            }
        }
    }

    /// Runs `body` with the arguments of a `tp_init` or `tp_call`.
    ///
    /// # Safety
    /// * `tuple` is a tuple, `dict` null or a dict with text keys.
    pub(super) unsafe fn with_tuple_and_dict<R>(
        tuple: *mut sys::PyObject,
        dict: *mut sys::PyObject,
        body: impl FnOnce(Arguments<'_>) -> Outcome<R>,
    ) -> Outcome<R> {
        let mut names = Vec::new();
        let mut values = Vec::new();
        // SAFETY: by the caller's word; PyDict_Next lends references, which are
        // turned into owned ones because the body may change the dict.
        unsafe {
            if !dict.is_null() {
                let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
                let mut position = 0;
                while sys::PyDict_Next(dict, &raw mut position, &raw mut key, &raw mut value) != 0 {
                    names.push(Object::from_borrowed(key));
                    values.push(Object::from_borrowed(value));
                }
            }
            let positional = Object::view(&tuple).tuple_items();
            body(Arguments {
                positional,
                names: &names,
                values: &values,
            })
        }
    }

    #[inline]
    pub(crate) fn positional(self) -> &'a [Object] {
        self.positional
    }

    pub(crate) fn has_keywords(self) -> bool {
        !self.names.is_empty()
    }

    /// The one argument, if there is one only and it came by position.
    #[inline]
    pub(crate) fn only(self) -> Option<&'a Object> {
        match (self.positional, self.names) {
            ([argument], []) => Some(argument),
            _ => None,
        }
    }

    /// The first positional argument, and these arguments without it.
    #[inline]
    pub(crate) fn split_first(self) -> Option<(&'a Object, Arguments<'a>)> {
        let (first, positional) = self.positional.split_first()?;
        Some((first, Arguments { positional, ..self }))
    }

    /// Calls `function` with these arguments.
    ///
    /// # Errors
    /// Whatever the function raises.
    pub(crate) fn call(self, function: &Object) -> Outcome<Object> {
        self.call_with_leading(function, None)
    }

    /// Calls `function` with `first` and these arguments behind it.
    ///
    /// # Errors
    /// Whatever the function raises.
    pub(crate) fn call_behind(self, function: &Object, first: &Object) -> Outcome<Object> {
        self.call_with_leading(function, Some(first))
    }

    fn call_with_leading(self, function: &Object, first: Option<&Object>) -> Outcome<Object> {
        let mut all = Vec::from_iter(first);
        all.extend(self.positional);
        all.extend(self.values);
        let names = Object::tuple_of(self.names)?;
        // SAFETY: as many live objects as positional arguments and names, which are text.
        unsafe {
            let pointers: Vec<_> = all.iter().map(|object| object.as_ptr()).collect();
            Object::from_new(sys::PyObject_Vectorcall(
                function.as_ptr(),
                pointers.as_ptr(),
                self.positional.len() + first.iter().len(),
                names.as_ptr(),
            ))
        }
    }

    /// The one argument of a method, by position or by name; `names` gives the method's and the
    /// parameter's.
    ///
    /// # Errors
    /// TypeError for any other number of arguments and any other name.
    #[inline]
    pub(super) fn single(
        self,
        names: impl FnOnce() -> (&'static str, &'static CStr),
    ) -> Outcome<&'a Object> {
        if let Some(argument) = self.only() {
            return Ok(argument);
        }
        let (function, parameter) = names();
        let signature = Signature {
            function,
            names: [parameter],
            positional: 1,
            required: 1,
        };
        match signature.parse(self)? {
            [Some(argument)] => Ok(argument),
            [None] => Err(signature.missing(0)),
        }
    }

    /// The keyword argument of a method like `call_soon(callback, *args, context=None)`, with
    /// Python's None for none; `None` when there are other keywords as well.
    #[inline]
    pub(crate) fn only_keyword(self, keyword: &CStr) -> Option<Option<&'a Object>> {
        match (self.names, self.values) {
            ([], _) => Some(None),
            ([name], [value]) if text_is(name, keyword) => Some(value.some()),
            _ => None,
        }
    }

    /// Runs `body` with the argument of that name as the only positional one, if there is one of
    /// that name and none by position.
    pub(crate) fn with_keyword_first<R>(
        self,
        keyword: &CStr,
        body: impl FnOnce(Arguments<'_>) -> R,
    ) -> Option<R> {
        let index = self.names.iter().position(|name| text_is(name, keyword))?;
        if !self.positional.is_empty() {
            return None;
        }
        let (mut names, mut values) = (self.names.to_vec(), self.values.to_vec());
        names.remove(index);
        let first = values.remove(index);
        Some(body(Arguments {
            positional: &[first],
            names: &names,
            values: &values,
        }))
    }

    /// The named parameters of a variadic method, the first `positional` of which may come by
    /// position.
    ///
    /// # Errors
    /// TypeError for an unknown keyword and for a parameter given twice.
    #[cold]
    pub(crate) fn named<const N: usize>(
        self,
        method: &str,
        parameters: [&'static CStr; N],
        positional: usize,
    ) -> Outcome<[Option<&'a Object>; N]> {
        let mut found = [None; N];
        for (slot, value) in found[..positional].iter_mut().zip(self.positional) {
            *slot = Some(value);
        }
        for (name, value) in self.names.iter().zip(self.values) {
            let Some(index) = parameters.iter().position(|known| text_is(name, known)) else {
                return Err(unexpected_keyword(method, name));
            };
            if found[index].replace(value).is_some() {
                let name = parameters[index].to_string_lossy();
                return Err(Raised::type_error(&format!(
                    "{method}() got multiple values for argument '{name}'"
                )));
            }
        }
        Ok(found)
    }
}

/// What a function accepts: names in order, how many may be positional, how many are required.
pub(crate) struct Signature<'f, const N: usize> {
    pub(crate) function: &'f str,
    pub(crate) names: [&'static CStr; N],
    pub(crate) positional: usize,
    pub(crate) required: usize,
}

impl<const N: usize> Signature<'_, N> {
    /// Each argument at its name's index.
    ///
    /// # Errors
    /// TypeError for too many, unknown, repeated and missing arguments.
    #[inline]
    pub(crate) fn parse<'a>(&self, arguments: Arguments<'a>) -> Outcome<[Option<&'a Object>; N]> {
        let given = arguments.positional;
        if arguments.names.is_empty() && (self.required..=self.positional).contains(&given.len()) {
            return Ok(std::array::from_fn(|index| given.get(index)));
        }
        self.parse_any(arguments)
    }

    /// [`Self::parse`] with keywords, or with an error to be told of.
    #[cold]
    fn parse_any<'a>(&self, arguments: Arguments<'a>) -> Outcome<[Option<&'a Object>; N]> {
        let mut found = [None; N];
        let given = arguments.positional.len();
        if given > self.positional {
            return Err(self.too_many(given));
        }
        for (slot, value) in found.iter_mut().zip(arguments.positional) {
            *slot = Some(value);
        }
        for (name, value) in arguments.names.iter().zip(arguments.values) {
            let text = keyword_text(name);
            let known = |known: &&CStr| Some(known.to_bytes()) == text;
            let Some(index) = self.names.iter().position(known) else {
                return Err(unexpected_keyword(self.function, name));
            };
            if found[index].replace(value).is_some() {
                return Err(self.repeated(index));
            }
        }
        match found[..self.required].iter().position(Option::is_none) {
            Some(index) => Err(self.missing(index)),
            None => Ok(found),
        }
    }

    #[cold]
    fn too_many(&self, given: usize) -> Raised {
        Raised::type_error(&format!(
            "{}() takes at most {} positional argument{} ({given} given)",
            self.function,
            self.positional,
            if self.positional == 1 { "" } else { "s" },
        ))
    }

    #[cold]
    fn repeated(&self, index: usize) -> Raised {
        let name = self.names[index].to_string_lossy();
        Raised::type_error(&format!(
            "argument for {}() given by name ('{name}') and position ({})",
            self.function,
            index + 1,
        ))
    }

    #[cold]
    fn missing(&self, index: usize) -> Raised {
        let name = self.names[index].to_string_lossy();
        Raised::type_error(&format!(
            "{}() missing required argument '{name}' (pos {})",
            self.function,
            index + 1,
        ))
    }
}

#[inline]
fn text_is(name: &Object, known: &CStr) -> bool {
    keyword_text(name) == Some(known.to_bytes())
}

/// The text of a keyword's name; `None` when it cannot be encoded, which no name of ours is.
#[inline]
fn keyword_text(name: &Object) -> Option<&[u8]> {
    let mut length = 0;
    // SAFETY: keyword names are text, which CPython checked. It keeps the encoded text, for ASCII
    // the object's own, as long as the object lives.
    unsafe {
        let start = sys::PyUnicode_AsUTF8AndSize(name.as_ptr(), &raw mut length);
        if start.is_null() {
            Raised::NOW.discard(); // A lone surrogate: the caller refuses the name.
            return None;
        }
        let length = length.unsigned_abs();
        Some(std::slice::from_raw_parts(start.cast::<u8>(), length))
    }
}

#[cold]
fn unexpected_keyword(function: &str, name: &Object) -> Raised {
    match name.to_text() {
        Ok(name) => Raised::type_error(&format!(
            "{function}() got an unexpected keyword argument '{name}'"
        )),
        Err(raised) => raised,
    }
}
