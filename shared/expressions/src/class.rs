//! The Java classes that values can have or parameters can ask for, and how they relate.

use std::fmt;

macro_rules! classes {
    ($($variant:ident $name:literal [$($parent:ident)*]),* $(,)?) => {
        /// A class without array dimensions.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Base { $($variant),* }

        impl Base {
            pub(crate) fn name(self) -> &'static str {
                match self { $(Base::$variant => $name),* }
            }

            /// What it extends and implements directly; `Object` is understood.
            fn parents(self) -> &'static [Base] {
                match self { $(Base::$variant => &[$(Base::$parent),*]),* }
            }
        }
    };
}

classes! {
    BooleanP "boolean" [], ByteP "byte" [], ShortP "short" [], CharP "char" [], IntP "int" [], LongP "long" [],
    FloatP "float" [], DoubleP "double" [],
    Object "java.lang.Object" [],
    CharSequence "java.lang.CharSequence" [], Comparable "java.lang.Comparable" [], Iterable "java.lang.Iterable" [],
    String "java.lang.String" [CharSequence Comparable],
    Number "java.lang.Number" [],
    Boolean "java.lang.Boolean" [Comparable], Character "java.lang.Character" [Comparable],
    Byte "java.lang.Byte" [Number Comparable], Short "java.lang.Short" [Number Comparable],
    Integer "java.lang.Integer" [Number Comparable], Long "java.lang.Long" [Number Comparable],
    Float "java.lang.Float" [Number Comparable], Double "java.lang.Double" [Number Comparable],
    BigInteger "java.math.BigInteger" [Number Comparable],
    Math "java.lang.Math" [], Class "java.lang.Class" [], Method "java.lang.reflect.Method" [],
    Collection "java.util.Collection" [Iterable], List "java.util.List" [Collection], Set "java.util.Set" [Collection],
    Map "java.util.Map" [], Enum "java.lang.Enum" [Comparable],
    ArrayList "java.util.ArrayList" [List],
    SubList "java.util.ArrayList$SubList" [List],
    UnmodifiableList "java.util.Collections$UnmodifiableRandomAccessList" [List],
    RegularImmutableList "com.google.common.collect.RegularImmutableList" [List],
    SingletonImmutableList "com.google.common.collect.SingletonImmutableList" [List],
    RegularImmutableSet "com.google.common.collect.RegularImmutableSet" [Set],
    SingletonImmutableSet "com.google.common.collect.SingletonImmutableSet" [Set],
    HashSet "java.util.HashSet" [Set], LinkedHashSet "java.util.LinkedHashSet" [HashSet],
    LinkedKeySet "java.util.LinkedHashMap$LinkedKeySet" [Set], LinkedValues "java.util.LinkedHashMap$LinkedValues" [Collection],
    LinkedEntrySet "java.util.LinkedHashMap$LinkedEntrySet" [Set],
    HashKeySet "java.util.HashMap$KeySet" [Set], HashValues "java.util.HashMap$Values" [Collection],
    HashEntrySet "java.util.HashMap$EntrySet" [Set],
    EmptySet "java.util.Collections$EmptySet" [Set],
    UnmodifiableSet "java.util.Collections$UnmodifiableSet" [Set],
    UnmodifiableCollection "java.util.Collections$UnmodifiableCollection" [Collection],
    UnmodifiableEntrySet "java.util.Collections$UnmodifiableMap$UnmodifiableEntrySet" [Set],
    HashMap "java.util.HashMap" [Map], LinkedHashMap "java.util.LinkedHashMap" [HashMap],
    UnmodifiableMap "java.util.Collections$UnmodifiableMap" [Map], EmptyMap "java.util.Collections$EmptyMap" [Map],
    StageContext "com.netflix.spinnaker.orca.pipeline.model.StageContext" [Map],
    StageRoot "com.netflix.spinnaker.orca.pipeline.model.StageContext" [Map],
    MapEntry "java.util.Map$Entry" [], HashNode "java.util.HashMap$Node" [MapEntry],
    LinkedEntry "java.util.LinkedHashMap$Entry" [HashNode],
    UnmodifiableEntry "java.util.Collections$UnmodifiableMap$UnmodifiableEntrySet$UnmodifiableEntry" [MapEntry],
    SimpleEntry "java.util.AbstractMap$SimpleEntry" [MapEntry],
    Date "java.util.Date" [Comparable], Uuid "java.util.UUID" [Comparable], Random "java.util.Random" [],
    DateFormat "java.text.DateFormat" [], SimpleDateFormat "java.text.SimpleDateFormat" [DateFormat],
    TemporalAccessor "java.time.temporal.TemporalAccessor" [],
    Temporal "java.time.temporal.Temporal" [TemporalAccessor],
    TemporalAdjuster "java.time.temporal.TemporalAdjuster" [], TemporalUnit "java.time.temporal.TemporalUnit" [],
    ChronoLocalDate "java.time.chrono.ChronoLocalDate" [Temporal TemporalAdjuster Comparable],
    ChronoLocalDateTime "java.time.chrono.ChronoLocalDateTime" [Temporal TemporalAdjuster Comparable],
    LocalDate "java.time.LocalDate" [ChronoLocalDate], LocalDateTime "java.time.LocalDateTime" [ChronoLocalDateTime],
    Instant "java.time.Instant" [Temporal TemporalAdjuster Comparable],
    DayOfWeek "java.time.DayOfWeek" [Enum TemporalAccessor TemporalAdjuster],
    ChronoUnit "java.time.temporal.ChronoUnit" [Enum TemporalUnit],
    UrlEncoder "java.net.URLEncoder" [], TemporalAdjusters "java.time.temporal.TemporalAdjusters" [],
    NotEvaluable "com.netflix.spinnaker.kork.expressions.NotEvaluableExpression" [],
    Status "com.netflix.spinnaker.orca.api.pipeline.models.ExecutionStatus" [Enum],
    Execution "com.netflix.spinnaker.orca.pipeline.model.PipelineExecutionImpl" [],
    Stage "com.netflix.spinnaker.orca.pipeline.model.StageExecutionImpl" [],
    Authentication "com.netflix.spinnaker.orca.api.pipeline.models.PipelineExecution$AuthenticationDetails" [],
    Artifact "com.netflix.spinnaker.kork.artifacts.model.Artifact" [],
    ExpectedArtifact "com.netflix.spinnaker.kork.artifacts.model.ExpectedArtifact" [],
    DefaultTrigger "com.netflix.spinnaker.orca.pipeline.model.DefaultTrigger" [],
    DockerTrigger "com.netflix.spinnaker.orca.pipeline.model.DockerTrigger" [],
    GitTrigger "com.netflix.spinnaker.orca.pipeline.model.GitTrigger" [],
    JenkinsTrigger "com.netflix.spinnaker.orca.pipeline.model.JenkinsTrigger" [],
    ConcourseTrigger "com.netflix.spinnaker.orca.pipeline.model.ConcourseTrigger" [],
    PipelineTrigger "com.netflix.spinnaker.orca.pipeline.model.PipelineTrigger" [],
    JenkinsBuildInfo "com.netflix.spinnaker.orca.pipeline.model.JenkinsBuildInfo" [],
    ConcourseBuildInfo "com.netflix.spinnaker.orca.pipeline.model.ConcourseBuildInfo" [],
    JenkinsArtifact "com.netflix.spinnaker.orca.pipeline.model.JenkinsArtifact" [],
    SourceControl "com.netflix.spinnaker.orca.pipeline.model.SourceControl" [],
}

/// A class, or an array of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Class {
    pub(crate) base: Base,
    pub(crate) dimensions: u8,
}

impl From<Base> for Class {
    fn from(base: Base) -> Self {
        Class {
            base,
            dimensions: 0,
        }
    }
}

impl Class {
    pub(crate) const fn of(base: Base) -> Class {
        Class {
            base,
            dimensions: 0,
        }
    }

    pub(crate) fn array_of(self) -> Class {
        Class {
            base: self.base,
            dimensions: self.dimensions.saturating_add(1),
        }
    }

    /// The class of the elements of an array.
    pub(crate) fn component(self) -> Option<Class> {
        self.dimensions.checked_sub(1).map(|dimensions| Class {
            base: self.base,
            dimensions,
        })
    }

    pub(crate) fn is_primitive(self) -> bool {
        self.dimensions == 0 && boxed_base(self.base) != self.base
    }

    /// The class whose instances stand for a primitive.
    pub(crate) fn boxed(self) -> Class {
        if self.dimensions == 0 {
            Class::of(boxed_base(self.base))
        } else {
            self
        }
    }

    /// Whether a value of `other` can stand where this class is asked for, primitives counted as their boxes.
    pub(crate) fn is_assignable_from(self, other: Class) -> bool {
        let this = self.boxed();
        let other = other.boxed();
        if this == other || this == Class::of(Base::Object) {
            return true;
        }
        if this.dimensions > 0 || other.dimensions > 0 {
            return match (this.component(), other.component()) {
                (Some(mine), Some(theirs)) => {
                    if mine.is_primitive() || theirs.is_primitive() {
                        mine == theirs
                    } else {
                        mine.is_assignable_from(theirs)
                    }
                }
                _ => false,
            };
        }
        ancestor(other.base, this.base)
    }

    pub(crate) fn is_a(self, base: Base) -> bool {
        Class::of(base).is_assignable_from(self)
    }

    /// Steps up the class hierarchy from `self` to `target`, as Spring weighs a near match.
    pub(crate) fn distance_to(self, target: Class) -> usize {
        let mut weight = 0;
        let target_boxed = target.boxed();
        let mut current = self.boxed();
        if target == self {
            return 0;
        }
        if target.is_primitive() && target_boxed == current {
            return 0;
        }
        if current.dimensions > 0 {
            return if current == target_boxed { 0 } else { 2 };
        }
        for _ in 0..8 {
            if current == target_boxed {
                return weight;
            }
            weight += 2;
            match superclass(current.base) {
                Some(parent) if target_boxed.is_assignable_from(Class::of(parent)) => {
                    current = Class::of(parent)
                }
                _ => break,
            }
        }
        weight + 1
    }
}

impl fmt::Display for Class {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.base.name())?;
        for _ in 0..self.dimensions {
            out.write_str("[]")?;
        }
        Ok(())
    }
}

fn ancestor(from: Base, wanted: Base) -> bool {
    from.parents()
        .iter()
        .any(|parent| *parent == wanted || ancestor(*parent, wanted))
}

/// The superclass (not interface) where it matters to overloads.
fn superclass(base: Base) -> Option<Base> {
    match base {
        Base::Byte
        | Base::Short
        | Base::Integer
        | Base::Long
        | Base::Float
        | Base::Double
        | Base::BigInteger => Some(Base::Number),
        Base::Object => None,
        Base::LinkedHashMap => Some(Base::HashMap),
        Base::SimpleDateFormat => Some(Base::DateFormat),
        _ => Some(Base::Object),
    }
}

fn boxed_base(base: Base) -> Base {
    match base {
        Base::BooleanP => Base::Boolean,
        Base::ByteP => Base::Byte,
        Base::ShortP => Base::Short,
        Base::CharP => Base::Character,
        Base::IntP => Base::Integer,
        Base::LongP => Base::Long,
        Base::FloatP => Base::Float,
        Base::DoubleP => Base::Double,
        other => other,
    }
}

/// What a type name stands for.
pub(crate) enum Located {
    /// May be used.
    Allowed(Class),
    /// Exists in Java, but not for expressions.
    Refused,
    /// No such class.
    Unknown,
}

/// Finds a type as `T(…)` and `new` do: primitives, full names, short names of `java.lang`.
pub(crate) fn locate(name: &str) -> Located {
    let lower = name.to_ascii_lowercase();
    let primitive = match lower.as_str() {
        "boolean" => Some(Base::BooleanP),
        "byte" => Some(Base::ByteP),
        "short" => Some(Base::ShortP),
        "char" => Some(Base::CharP),
        "int" => Some(Base::IntP),
        "long" => Some(Base::LongP),
        "float" => Some(Base::FloatP),
        "double" => Some(Base::DoubleP),
        _ => None,
    };
    if let (Some(base), true) = (primitive, lower == name) {
        return Located::Allowed(base.into());
    }
    let allowed = match name {
        "java.lang.String" | "String" => Base::String,
        "java.util.Date" => Base::Date,
        "java.lang.Integer" | "Integer" => Base::Integer,
        "java.lang.Long" | "Long" => Base::Long,
        "java.lang.Double" | "Double" => Base::Double,
        "java.lang.Byte" | "Byte" => Base::Byte,
        "java.lang.Boolean" | "Boolean" => Base::Boolean,
        "java.lang.Math" | "Math" => Base::Math,
        "java.util.Random" => Base::Random,
        "java.util.UUID" => Base::Uuid,
        "java.text.SimpleDateFormat" => Base::SimpleDateFormat,
        "java.time.LocalDate" => Base::LocalDate,
        "java.time.LocalDateTime" => Base::LocalDateTime,
        "java.time.DayOfWeek" => Base::DayOfWeek,
        "java.time.Instant" => Base::Instant,
        "java.time.temporal.ChronoUnit" => Base::ChronoUnit,
        "java.net.URLEncoder" => Base::UrlEncoder,
        "java.time.temporal.TemporalAdjusters" => Base::TemporalAdjusters,
        _ => {
            return if is_java_class(name) {
                Located::Refused
            } else {
                Located::Unknown
            };
        }
    };
    Located::Allowed(allowed.into())
}

/// Whether a name is likely that of a class on the original's class path. Both answers refuse; only the message differs.
fn is_java_class(name: &str) -> bool {
    const LANG: [&str; 14] = [
        "System",
        "Runtime",
        "Class",
        "Thread",
        "Object",
        "Float",
        "Short",
        "Character",
        "Number",
        "StringBuilder",
        "StringBuffer",
        "ClassLoader",
        "ProcessBuilder",
        "Process",
    ];
    let simple = name.rsplit('.').next().unwrap_or_default();
    let looks = simple
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_uppercase());
    if !name.contains('.') {
        return LANG.contains(&name);
    }
    let packages = [
        "java.",
        "javax.",
        "org.springframework.",
        "com.netflix.",
        "com.fasterxml.",
        "groovy.",
    ];
    looks && packages.iter().any(|prefix| name.starts_with(prefix))
}
